"""`/api/voices`: voices listed, looked at, changed, deleted."""

from __future__ import annotations

from typing import Any

from server.endpoint import Call, Endpoint, Nothing
from server.library import shapes
from server.library.access import library

TAG = "voices"


async def list_voices(call: Call[shapes.ListRequest]) -> Any:
    """A page of voices."""
    library(call)


async def popular_voices(call: Call[shapes.Limit]) -> Any:
    """Those that spoke most."""
    library(call)


async def voice_options(call: Call[Nothing]) -> Any:
    """What a page needs to make voices."""
    library(call)


async def get_voice(call: Call[shapes.OfVoice]) -> Any:
    """All that is known of a voice."""
    library(call)


async def voice_sample(call: Call[shapes.Signed]) -> Any:
    """Its preview."""
    library(call)


async def similar_voices(call: Call[shapes.Limit]) -> Any:
    """Voices of like speakers."""
    library(call)


async def change_voice(call: Call[shapes.VoiceChange]) -> Any:
    """Change what is said about it."""
    library(call)


async def delete_voice(call: Call[shapes.OfVoice]) -> Any:
    """Delete it everywhere."""
    library(call)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/api/voices", list_voices,
        "The library's voices: the caller's and public ones; with scope=builtin those of the speech engines.",
        "音色列表：自己的与公开的；scope=builtin 时为内置音色。支持分页与搜索。",
        TAG, shapes.ListRequest, "query", data=shapes.VoiceList, statuses=(413, 503),
    ),
    Endpoint(
        "GET", "/api/voices/popular", popular_voices,
        "The voices that spoke most.", "热门音色。",
        TAG, shapes.Limit, "query", data=shapes.SomeVoices, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/options", voice_options,
        "What a page needs to make voices: makers, limits, the statement of consent.",
        "创建音色所需信息：克隆引擎、限制与授权声明。",
        TAG, Nothing, data=shapes.VoiceOptions, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/{voiceId}", get_voice,
        "A voice with all that is known of it.", "音色详情。",
        TAG, shapes.OfVoice, "path", data=shapes.VoiceInfo, statuses=(404, 503),
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
        TAG, shapes.Limit, "query", within=shapes.OfVoice, data=shapes.SimilarVoices, statuses=(404, 503),
    ),
    Endpoint(
        "PUT", "/api/voices/{voiceId}", change_voice,
        "Change what is said about a voice of one's own.", "修改自己的音色的信息。",
        TAG, shapes.VoiceChange, "json", within=shapes.OfVoice, data=shapes.VoiceInfo, statuses=(404, 503),
    ),
    Endpoint(
        "DELETE", "/api/voices/{voiceId}", delete_voice,
        "Delete a voice everywhere: its recording, preview and generated speech, and the copy where it was cloned.",
        "彻底删除音色：录音、试听、已生成的语音以及克隆方的副本。",
        TAG, shapes.OfVoice, "path", data=shapes.Deleted, statuses=(404, 503),
    ),
)  # fmt: skip
