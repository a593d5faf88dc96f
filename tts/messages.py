"""What `remote` and `process` say to each other: a JSON object and, with sound, its samples.

A message is two little-endian uint32, the bytes of the object and of the samples, then both. Samples are float32,
little-endian. Nothing in it is code, so a damaged peer can do no more than end the connection.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

import errors
from tts.base import Sound, SpeechEngine, Voice, Word

_SIZES = struct.Struct("<II")
SAMPLE = "<f4"
MAX_BYTES = 1 << 28
"""Nearly an hour of sound: a longer message is damaged."""
STREAM_LIMIT_BYTES = 1 << 20

Facts = dict[str, Any]


def pack(facts: Mapping[str, Any], samples: bytes = b"") -> bytes:
    """A message as it is sent."""
    text = json.dumps(facts, separators=(",", ":")).encode("ascii")
    return b"".join((_SIZES.pack(len(text), len(samples)), text, samples))


async def receive(reader: asyncio.StreamReader) -> tuple[Facts, bytes] | None:
    """The next message; None when the other side is gone.

    Raises:
        ValueError: what came is no message.
    """
    try:
        sizes = _SIZES.unpack(await reader.readexactly(_SIZES.size))
        if max(sizes) > MAX_BYTES:
            raise ValueError(f"a message of {max(sizes)} bytes, but there are at most {MAX_BYTES}")
        text, samples = await reader.readexactly(sizes[0]), await reader.readexactly(sizes[1])
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError(f"a message is a {type(facts).__name__}, but must be an object")
    return facts, samples


def engine(maker: str, options: Mapping[str, Any]) -> SpeechEngine:
    """The engine, of speech or of recognition, that `module:Class` names, made with `options`."""
    module, _, attribute = maker.partition(":")
    made: SpeechEngine = getattr(importlib.import_module(module), attribute)(**options)
    return made


def voice_facts(voice: Voice) -> Facts:
    """JSON-ready."""
    return dataclasses.asdict(voice)


def voice(facts: Facts) -> Voice:
    """What `voice_facts` was given."""
    return Voice(**{**facts, "languages": tuple(facts["languages"])})


def sound_message(number: int, sound: Sound) -> bytes:
    """A piece of the answer to request `number`."""
    words = [(word.text, word.start_s, word.end_s) for word in sound.words]
    samples = np.ascontiguousarray(sound.pcm, SAMPLE).tobytes()
    return pack({"id": number, "is": "sound", "words": words, "rate_hz": sound.rate_hz}, samples)


def sound(facts: Facts, samples: bytes) -> Sound:
    """What `sound_message` was given; its samples cannot be written to."""
    return Sound(np.frombuffer(samples, SAMPLE), tuple(Word(*word) for word in facts["words"]), facts["rate_hz"])


def error_facts(error: Exception, name: str) -> Facts:
    """JSON-ready; what is none of this project's errors becomes an EngineError of engine `name`."""
    if isinstance(error, errors.EngineError):
        message = str(error).removeprefix(f"{error.engine}: ")
        how = {"retryable": error.retryable, "retry_after_s": error.retry_after_s}
        return {"type": "EngineError", "engine": error.engine, "message": message, **how}
    if isinstance(error, errors.VisageError):
        return {"type": type(error).__name__, "message": str(error)}
    message = f"{type(error).__name__}: {error}"
    return {"type": "EngineError", "engine": name, "message": message, "retryable": True, "retry_after_s": None}


def error(facts: Facts) -> errors.VisageError:
    """The error that `error_facts` was given."""
    kind = getattr(errors, facts["type"], errors.VisageError)
    if kind is errors.EngineError:
        how = {name: facts[name] for name in ("retryable", "retry_after_s")}
        return errors.EngineError(facts["engine"], facts["message"], **how)
    made: errors.VisageError = kind(facts["message"])
    return made
