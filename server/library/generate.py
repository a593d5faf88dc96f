"""`/api/tts`: speech generated, kept, told about."""

from __future__ import annotations

from typing import Any

from server.endpoint import Call, Endpoint
from server.library import shapes
from server.library.access import library

TAG = "generation"


async def generate_speech(call: Call[shapes.GenerateRequest]) -> Any:
    """Say a text into a file."""
    library(call)


async def generation_history(call: Call[shapes.HistoryRequest]) -> Any:
    """What was generated."""
    library(call)


async def generation_usage(call: Call[shapes.UsageRequest]) -> Any:
    """How much was generated."""
    library(call)


async def get_generation(call: Call[shapes.OfRequest]) -> Any:
    """One generation."""
    library(call)


async def generation_audio(call: Call[shapes.Signed]) -> Any:
    """Its file."""
    library(call)


async def delete_generation(call: Call[shapes.OfRequest]) -> Any:
    """Delete it."""
    library(call)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/tts/generate", generate_speech,
        "Say a text with a voice into a file. The same text, voice, model and speed again is answered from before.",
        "用音色朗读文字并生成文件。相同的文字、音色、模型与语速直接返回已有结果。",
        TAG, shapes.GenerateRequest, "json", data=shapes.Generated, success=(200, 201),
        statuses=(404, 413, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/api/tts/history", generation_history,
        "What the caller generated, newest first.", "自己的生成记录，最新在前。",
        TAG, shapes.HistoryRequest, "query", data=shapes.History, statuses=(413, 503),
    ),
    Endpoint(
        "GET", "/api/tts/usage", generation_usage,
        "How much the caller generated, by day and by voice.", "自己的用量，按天与按音色。",
        TAG, shapes.UsageRequest, "query", data=shapes.UsageInfo, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/tts/{requestId}", get_generation,
        "One generation.", "一条生成记录。",
        TAG, shapes.OfRequest, "path", data=shapes.Generated, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/tts/{requestId}/audio", generation_audio,
        "A generation's file; takes Range. Opened by a key or by the signature of its address.",
        "生成的音频，支持 Range。凭密钥或地址签名访问。",
        TAG, shapes.Signed, "query", within=shapes.OfRequest, media="audio/*", success=(200, 206, 302),
        statuses=(401, 404, 416, 503), locked=False,
    ),
    Endpoint(
        "DELETE", "/api/tts/{requestId}", delete_generation,
        "Delete a generation and its file.", "删除生成记录及其文件。",
        TAG, shapes.OfRequest, "path", data=shapes.Deleted, statuses=(404, 503),
    ),
)  # fmt: skip
