"""What the presenter is asked to do: speak a text or a recording, answer, stop, act."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from chat import localmodel
from errors import BadRequest, Busy, NotFound, Unavailable, Unprocessable
from server.chat import reply
from server.endpoint import Call, Endpoint, Fields, OfSession, Services
from server.reading import understood
from server.upload import receive
from sessions.session import Session
from tts.library import PREFIX as LIBRARY_VOICE
from voices.people import User

TEXT_CHARACTERS_MAX = 5_000
NAME_CHARACTERS_MAX = 200
UPLOADS_MAX = 16  # at once; bounds the disk that uploads can take
TAG = "presenter"


def clean(text: object) -> object:
    """Without control, private and unassigned characters, which no voice can say; line breaks and tabs stay."""
    if not isinstance(text, str) or len(text) > TEXT_CHARACTERS_MAX:  # refused next; a megabyte would hold the loop
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn")).strip()


def _flag(value: object) -> object:
    """LiveTalking takes whatever is truthy in JSON; null is false."""
    return False if value is None else value


class SpeechOptions(Fields):
    """How to speak."""

    voice: str = Field(
        default="",
        max_length=NAME_CHARACTERS_MAX,
        description="Id of GET /api/speech/voices, or a library voice's `speak_as`; empty: the session's own",
    )
    ref_file: str = Field(default="", max_length=NAME_CHARACTERS_MAX, description="LiveTalking's name for voice")
    ref_text: str = Field(
        default="", max_length=2_000, description="Transcript of a reference recording, for engines that clone a voice"
    )
    speed: float = Field(default=1.0, ge=0.5, le=2.0, description="1 is the voice's own pace")


class HumanRequest(OfSession):
    """Text to speak or to answer."""

    type: Literal["echo", "chat"] = Field(description="echo: speak the text; chat: speak an answer to it")
    text: Annotated[str, BeforeValidator(clean)] = Field(
        min_length=1, max_length=TEXT_CHARACTERS_MAX, description="Chinese or English, no markup"
    )
    interrupt: Annotated[bool, BeforeValidator(_flag)] = Field(
        default=False, description="End what is being said first"
    )
    tts: SpeechOptions | None = Field(default=None, description="Voice and engine options for this text")


class AudioRequest(OfSession):
    """A recording to speak (multipart)."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})] = Field(
        default="", description="WAV, MP3, M4A, OGG, FLAC or WebM; any rate, any channels"
    )


class ActionRequest(OfSession):
    """A custom action to show."""

    audiotype: int = Field(ge=0, le=1_000_000, description="0: the avatar's own motion; others as configured")


async def find_voice(services: Services, name: str, user: User, session: Session | None = None) -> str | None:
    """The id of the voice a client named: by its id, by its name within its engine, or by a name that an engine knows
    without listing it; None for an empty name.

    Args:
        services: whose voices.
        name: what the client said.
        user: who asks.
        session: the session that is to have it, where there is one already.

    Raises:
        NotFound: there is no such voice, or it is not for this session.
    """
    if not name:
        return None
    if name.startswith(LIBRARY_VOICE) and services.library is not None:
        others = session is not None and session.wish.user != user.id
        return (await services.library.admit(name, user, public=others)).id
    voices = services.voices()
    for voice in voices:
        if name in (voice.id, voice.id.partition(":")[2]):
            return voice.id
    if found := services.find_voice(name):
        return found.id
    some = ", ".join(voice.id for voice in voices[:3]) or "none: see python app.py doctor"
    raise NotFound(
        f"voice {name!r} does not exist; GET /api/speech/voices lists them ({some})",
        zh=f"音色 {name!r} 不存在；GET /api/speech/voices 列出全部音色",
    )


async def human(call: Call[HumanRequest]) -> None:
    """Queue a text or a question."""
    services, given = call.services, call.given
    session = services.sessions.get(given.sessionid)
    if not any(unicodedata.category(c)[0] in "LN" for c in given.text):
        raise Unprocessable(
            "text holds no letter and no digit, so there is nothing to speak", zh="文字中没有可以朗读的内容"
        )
    options = given.tts or SpeechOptions()
    voice = await find_voice(services, options.voice or options.ref_file, call.user, session)
    extra = options.model_dump(exclude={"voice", "ref_file"}, exclude_defaults=True)
    if given.type == "chat" and services.language_model is None:
        raise Unavailable(
            f"no language model is configured, so there is no one to answer: start with --llm_base_url and --llm_model "
            f"(any OpenAI-compatible server), or send type echo; {localmodel.why_not()}",
            zh="未配置大模型：请用 --llm_base_url 和 --llm_model 启动，或运行 make chat 安装本地模型，或使用 echo",
        )
    if given.interrupt:
        interrupt_session(services, session)
    services.metrics.speech.labels(given.type).inc()
    if given.type == "echo":
        await session.real.say(given.text, voice=voice, options=extra or None)
    else:
        session.chat(lambda: reply(services, session, given.text, voice, extra or None))


def interrupt_session(services: Services, session: Session) -> None:
    """End what a session says and plans to say."""
    services.metrics.interruptions.inc()
    session.interrupt()


async def humanaudio(call: Call[AudioRequest]) -> None:
    """Queue a recording; it is decoded while it is spoken."""
    services = call.services
    if services.uploads >= UPLOADS_MAX:
        raise Busy(
            f"{UPLOADS_MAX} recordings are being uploaded at this moment: try again in a second",
            zh=f"已有 {UPLOADS_MAX} 个录音正在上传，请稍后再试",
        )
    services.uploads += 1
    try:
        fields, recording = await receive(call.request, services.settings, services.decoders)
    finally:
        services.uploads -= 1
    if recording is None:
        raise BadRequest(
            "file is missing: send the recording as multipart form field `file`",
            zh="缺少文件：请以表单字段 file 上传录音",
        )
    try:
        session = services.sessions.get(understood(OfSession, fields).sessionid)
        await recording.open()
        services.metrics.speech.labels("audio").inc()
        await session.play(recording)
    except BaseException:
        recording.close()
        raise


async def interrupt_talk(call: Call[OfSession]) -> None:
    """End everything said and queued."""
    interrupt_session(call.services, call.services.sessions.get(call.given.sessionid))


async def set_audiotype(call: Call[ActionRequest]) -> None:
    """Show a custom action."""
    session = call.services.sessions.get(call.given.sessionid)
    known = session.built.audiotypes
    if call.given.audiotype not in known:
        raise NotFound(
            f"audiotype {call.given.audiotype} does not exist; this session has {', '.join(map(str, known))}",
            zh=f"动作 {call.given.audiotype} 不存在；本会话有 {'、'.join(map(str, known))}",
        )
    session.real.act(call.given.audiotype)


async def is_speaking(call: Call[OfSession]) -> bool:
    """Whether something is being said or waits to be."""
    return call.services.sessions.get(call.given.sessionid).speaking


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/human", human,
        "Speak a text, or answer it through the language model; returns at once.",
        "朗读文字，或由大模型回答；立即返回。",
        TAG, HumanRequest, "json", statuses=(404, 409, 413, 422, 429, 503),
    ),
    Endpoint(
        "POST", "/humanaudio", humanaudio,
        "Speak a recording, lips in step; returns once it is known to be playable.",
        "播放录音并同步口型；确认可播放后返回。",
        TAG, AudioRequest, "form", statuses=(404, 409, 413, 422, 429, 503),
    ),
    Endpoint(
        "POST", "/interrupt_talk", interrupt_talk,
        "Stop speaking and drop what is queued.", "停止说话并清空队列。",
        TAG, OfSession, "json", statuses=(404,),
    ),
    Endpoint(
        "POST", "/is_speaking", is_speaking,
        "Whether something is being said or waits to be.", "是否正在说话或有待说内容。",
        TAG, OfSession, "json", data=bool, statuses=(404,),
    ),
    Endpoint(
        "POST", "/set_audiotype", set_audiotype,
        "Show a custom action; 0 returns to the avatar's own motion.", "播放自定义动作；0 恢复默认动作。",
        TAG, ActionRequest, "json", statuses=(404,),
    ),
)  # fmt: skip
