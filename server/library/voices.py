"""`/api/voices`: voices listed, looked at, changed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from audiofile import FORMATS_TEXT
from errors import NotFound
from server.endpoint import Call, Endpoint, Nothing
from server.library import cards, shapes, speechshapes, voiceshapes
from server.library.access import library, reader_of
from server.library.download import send

if TYPE_CHECKING:
    from voices.opened import Opened
    from voices.people import User
    from voices.removal import Removed
    from voices.schema import VoiceRow

TAG = "voices"


async def list_voices(call: Call[voiceshapes.ListRequest]) -> Any:
    """A page of voices."""
    given = call.given
    if given.scope == "builtin":
        return _built_in(call)
    from voices.catalogue import Query

    opened = await library(call)
    page = await opened.catalogue.page(Query(**given.model_dump()), call.user)
    return cards.page_of("voices", page, [cards.card(opened, row, call.user) for row in page.rows])


def _built_in(call: Call[voiceshapes.ListRequest]) -> dict[str, Any]:
    """A page of the speech engines' voices."""
    given, words = call.given, call.given.q.casefold().split()
    found = [
        voice
        for voice in call.services.voices()
        if all(word in voice.id.casefold() for word in words)
        and given.language in ("", *voice.languages)
        and given.gender in ("", voice.gender)
        and given.maker in ("", voice.engine)
        and given.model in ("", voice.engine)
    ]
    if given.sort == "name":
        found.sort(key=lambda voice: voice.id.partition(":")[2])
    shown = found[(given.page - 1) * given.size :][: given.size]
    return {
        "voices": [cards.built_in_card(voice) for voice in shown],
        "total": len(found),
        "page": given.page,
        "size": given.size,
        "pages": cards.pages(len(found), given.size),
    }


async def popular_voices(call: Call[voiceshapes.Limit]) -> Any:
    """Those that spoke most."""
    opened = await library(call)
    rows = await opened.catalogue.popular(call.user, call.given.limit)
    return {"voices": [cards.card(opened, row, call.user) for row in rows]}


async def voice_options(call: Call[Nothing]) -> Any:
    """What a page needs to make voices."""
    from voices.cloning.build import why_not
    from voices.consent import STATEMENT

    opened, settings = await library(call), call.services.settings
    if call.services.library is not None:
        call.services.library.expect_recordings()
    reasons = {maker.name: why_not(maker) for maker in opened.makers.all}
    usable_first = sorted(opened.makers.all, key=lambda maker: bool(reasons[maker.name][0]))
    model = opened.embeddings.model
    return voiceshapes.VoiceOptions(
        makers=[
            voiceshapes.MakerOption(
                maker=maker.name,
                models=list(maker.models),
                clones=maker.clones,
                usable=not reasons[maker.name][0],
                why_not=reasons[maker.name][0],
                why_not_zh=reasons[maker.name][1],
            )
            for maker in usable_first
        ],
        seconds_min=settings.voice_seconds_min,
        seconds_max=settings.voice_seconds_max,
        mib_max=settings.max_voice_mb,
        formats=FORMATS_TEXT,
        sample_characters_max=voiceshapes.SAMPLE_CHARACTERS_MAX,
        text_characters_max=voiceshapes.TRANSCRIPT_CHARACTERS_MAX,
        input_characters_max=speechshapes.INPUT_CHARACTERS_MAX,
        statement=voiceshapes.Statement(id=STATEMENT.id, en=STATEMENT.en, zh=STATEMENT.zh),
        embedding_model=model.id.name if model is not None and opened.embeddings.usable else "",
        formats_out=list(get_args(speechshapes.AudioFormat)),
    ).model_dump(mode="json")


async def get_voice(call: Call[shapes.OfVoice]) -> Any:
    """All that is known of a voice."""
    opened = await library(call)
    return await _info(opened, await opened.catalogue.get(call.given.voiceId, call.user), call)


async def _info(opened: Opened, row: VoiceRow, call: Call[Any]) -> dict[str, Any]:
    used = await opened.usage.of_voice(row.id)
    model = await opened.embeddings.model_of(row.file_id, row.embedding_hash)
    return cards.voice_info(opened, row, call.user, used, model)


async def voice_sample(call: Call[shapes.Signed]) -> web.StreamResponse:
    """Its preview."""
    opened, voice_id = await library(call), call.place.voiceId
    user = await reader_of(call, opened, cards.sample_path(voice_id))
    row = await opened.catalogue.get(voice_id, user)
    if not row.sample_audio_path:
        raise NotFound(f"voice {row.name!r} has no preview")
    return await send(call.request, opened.storage, row.sample_audio_path, "audio/wav", f"{voice_id}.wav")


async def similar_voices(call: Call[voiceshapes.Limit]) -> Any:
    """Voices of like speakers."""
    opened = await library(call)
    row = await opened.catalogue.get(call.place.voiceId, call.user)
    model, vector = opened.embeddings.model, await opened.embeddings.comparable_of(row.file_id)
    if vector is None or model is None:
        return {"voices": [], "same_speaker": 1.0}
    near = await opened.neighbours.near(vector, call.user, call.given.limit, row.id)
    rows = await opened.catalogue.some([voice_id for voice_id, _ in near])
    found = [
        {**cards.card(opened, rows[voice_id], call.user), "score": round(score, 4)}
        for voice_id, score in near
        if voice_id in rows
    ]
    return {"voices": found, "same_speaker": model.same_speaker}


async def change_voice(call: Call[voiceshapes.VoiceChange]) -> Any:
    """Change what is said about it."""
    opened = await library(call)
    changes = {name: value for name, value in call.given.model_dump(exclude_unset=True).items() if value is not None}
    row = await opened.catalogue.change(call.place.voiceId, call.user, changes)
    return await _info(opened, row, call)


async def delete_voice(call: Call[shapes.OfVoice]) -> Any:
    """Delete it everywhere."""
    removed = await remove(await library(call), call.given.voiceId, call.user)
    return shapes.Deleted(deleted=True, files=removed.files, generations=removed.generations).model_dump()


async def remove(opened: Opened, voice_id: str, user: User) -> Removed:
    """Delete a voice of the user's own, also for the sessions that have it.

    Raises:
        NotFound: it is not there, or not theirs.
    """
    removed = await opened.removal.voice(voice_id, user)
    opened.engine.forget(voice_id)
    return removed


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/api/voices", list_voices,
        "The library's voices: the caller's and public ones; with scope=builtin those of the speech engines.",
        "音色列表：自己的与公开的；scope=builtin 时为内置音色。支持分页与搜索。",
        TAG, voiceshapes.ListRequest, "query", data=voiceshapes.VoiceList, statuses=(413, 503),
    ),
    Endpoint(
        "GET", "/api/voices/popular", popular_voices,
        "The voices that spoke most.", "热门音色。",
        TAG, voiceshapes.Limit, "query", data=voiceshapes.SomeVoices, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/options", voice_options,
        "What a page needs to make voices: makers, limits, the statement of consent.",
        "创建音色所需信息：克隆引擎、限制与授权声明。",
        TAG, Nothing, data=voiceshapes.VoiceOptions, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/{voiceId}", get_voice,
        "A voice with all that is known of it.", "音色详情。",
        TAG, shapes.OfVoice, "path", data=voiceshapes.VoiceInfo, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/voices/{voiceId}/sample", voice_sample,
        "A voice's preview; takes Range. Opened by a key or by the signature of its address.",
        "音色试听，支持 Range。凭密钥或地址签名访问。",
        TAG, shapes.Signed, "query", within=shapes.OfVoice, media="audio/wav", success=(200, 206, 302),
        statuses=(401, 404, 416, 503), locked=False,
    ),
    Endpoint(
        "GET", "/api/voices/{voiceId}/similar", similar_voices,
        "Voices of like speakers, nearest first.", "声音相近的音色，最近者在前。",
        TAG, voiceshapes.Limit, "query", within=shapes.OfVoice, data=voiceshapes.SimilarVoices, statuses=(404, 503),
    ),
    Endpoint(
        "PUT", "/api/voices/{voiceId}", change_voice,
        "Change what is said about a voice of one's own.", "修改自己的音色的信息。",
        TAG, voiceshapes.VoiceChange, "json", within=shapes.OfVoice, data=voiceshapes.VoiceInfo, statuses=(404, 503),
    ),
    Endpoint(
        "DELETE", "/api/voices/{voiceId}", delete_voice,
        "Delete a voice everywhere: its recording, preview and generated speech, and the copy where it was cloned.",
        "彻底删除音色：录音、试听、已生成的语音以及克隆方的副本。",
        TAG, shapes.OfVoice, "path", data=shapes.Deleted, statuses=(404, 503),
    ),
)  # fmt: skip
