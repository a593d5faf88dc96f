"""Voices cloned by servers that imitate a recording each time they speak: CosyVoice, GPT-SoVITS, IndexTTS 2, vLLM-Omni.

Such a server keeps no voices, so the voice is its recording, which the recipe holds: nothing is left on the server, and
nothing lies in a folder that could be lost or forgotten. The wire protocols are those of the engines in `tts`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import io
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr

from asr.openai import wav_bytes
from errors import BadRequest, EngineError
from tts.base import Sound
from tts.cosyvoice import CosyVoice
from tts.gptsovits import SovitsVoice
from tts.indextts2 import IndexVoice
from tts.openai import OmniOptions, OmniVoice
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Common, Reference, ServerOptions, checked
from tts.wire.texts import parts
from voices.cloning.base import Clip, Made, Progress

FOLDER = Path(__file__).resolve().parents[2] / "data" / "voices" / "references"
FILES_MAX = 200
"""Recordings that lie in the folder at a time; whoever speaks next puts its own back."""
SAMPLE_TEXTS = {"zh": "你好，很高兴认识你。", "en": "Hello, it is a pleasure to meet you."}
SECONDS = {"gpt-sovits": (3.0, 10.0)}
"""What a server takes, where it is less than the library does; GPT-SoVITS refuses what lies outside."""


class ServedMaker:
    """See `VoiceMaker`.

    Args:
        engine: of `tts`, made for a server; it need not have a voice of its own.
        folder: where recordings lie while they are spoken with. A server that reads its own disk must see it by the
            same path.
        configured: whether somebody said where the server is.
    """

    clones = True

    def __init__(self, engine: ServerEngine, folder: Path = FOLDER, *, configured: bool = True) -> None:
        self._engine = engine
        self._configured = configured
        self._folder = folder
        self.name = engine.name
        self.models: tuple[str, ...] = (getattr(engine.options, "model", "") or engine.name,)
        self.sample_rate_hz = engine.sample_rate_hz

    def why_not(self) -> str | None:
        """None when an address and the keys are set; whether the server answers shows when it is asked."""
        missing = [name for name in self._engine.key_names if not self._engine.keys[name]]
        if missing:
            return f"{self.name}: {', '.join(missing)} not set in the environment"
        if self._configured:
            return None
        option = f'{{"{self.name}": {{"server": "http://..."}}}}'
        return f"{self.name}: its server's address is not configured: --tts_options '{option}'"

    def why_not_zh(self) -> str:
        """The same in Chinese."""
        missing = [name for name in self._engine.key_names if not self._engine.keys[name]]
        if missing:
            return f"{self.name}：环境变量 {'、'.join(missing)} 未设置"
        option = f'{{"{self.name}": {{"server": "http://..."}}}}'
        return "" if self._configured else f"{self.name}：未配置其服务地址：--tts_options '{option}'"

    async def make(self, clip: Clip, model: str, sample_text: str, progress: Progress) -> Made:
        """Take the recording and hear the server imitate it once, so that a voice that cannot speak is not made.

        Raises:
            BadRequest: the recording is longer or shorter than the server takes.
            EngineError: the server cannot imitate it.
        """
        least_s, most_s = SECONDS.get(self.name, (0.0, np.inf))
        wav = await asyncio.to_thread(clip.wav.read_bytes)
        recipe = await asyncio.to_thread(_recipe, wav, clip)
        if not least_s <= recipe["seconds"] <= most_s:
            found = f"the recording lasts {recipe['seconds']:.1f} s"
            raise BadRequest(f"{self.name}: {found}, but must last {least_s:g} to {most_s:g} s")
        progress("cloning", 0.3)
        language = clip.language or "zh"
        text = sample_text or SAMPLE_TEXTS.get(language, SAMPLE_TEXTS["en"])
        async with contextlib.aclosing(self.speak("", recipe, text, language, model, 1.0)) as sounds:
            pieces = [sound.pcm async for sound in sounds if sound.pcm.size]
        if not pieces:
            raise EngineError(self.name, f"gave no sound for {text[:40]!r}")
        return Made("", recipe, self._engine.spoken, wav_bytes(np.concatenate(pieces), self.sample_rate_hz))

    async def speak(
        self, voice_id: str, recipe: Mapping[str, Any], text: str, language: str, model: str, speed: float
    ) -> AsyncGenerator[Sound, None]:
        """The text, as the server makes it, in the voice of the recipe's recording.

        Raises:
            BadRequest: the recipe is none of a recording.
            EngineError: the server failed.
        """
        path = await asyncio.to_thread(self._file, recipe)
        reference = Reference(
            file=str(path), text=str(recipe.get("text", "")), language=str(recipe.get("language", ""))
        )
        resampler: soxr.ResampleStream | None = None
        for part in parts(text, self._engine.part_characters, self._engine.part_bytes):
            if not any(map(str.isalnum, part)):
                continue
            asked = Asked(part, path.stem, language, speed, reference)
            async with contextlib.aclosing(self._engine.say(asked)) as sounds:
                async for sound in sounds:
                    if sound.rate_hz in (None, self.sample_rate_hz):
                        yield sound
                        continue
                    if resampler is None:
                        resampler = soxr.ResampleStream(sound.rate_hz, self.sample_rate_hz, 1, dtype="float32")
                    yield Sound(resampler.resample_chunk(sound.pcm), sound.words)
        if resampler is not None:
            yield Sound(resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    async def forget(self, voice_id: str, recipe: Mapping[str, Any]) -> None:
        """Delete the recording's file, where it lies here; the server never had more than a copy for one answer."""
        with contextlib.suppress(BadRequest, OSError):
            content = _content(recipe)
            await asyncio.to_thread(self._path(content).unlink, missing_ok=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.aclose()

    def _path(self, content: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(content).hexdigest()}.wav"

    def _file(self, recipe: Mapping[str, Any]) -> Path:
        """The recipe's recording as a WAV file in the folder; blocking."""
        content = _content(recipe)
        path = self._path(content)
        if path.exists():
            os.utime(path)
            return path
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(self._folder.glob("*.wav"), key=lambda file: file.stat().st_mtime)[: -FILES_MAX + 1]:
            old.unlink(missing_ok=True)
        pcm, rate_hz = soundfile.read(io.BytesIO(content), dtype="int16")
        part = path.with_suffix(f".{os.getpid()}.part")
        soundfile.write(part, pcm, rate_hz, subtype="PCM_16", format="WAV")
        return part.replace(path)


class OmniCloner(OmniVoice):
    """vLLM-Omni with a model that imitates (Qwen3-TTS Base): the recording goes with each request."""

    name = "omnitts"

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__((options or OmniOptions()).model_copy(update={"task_type": "Base"}), common)

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as the server makes it."""
        assert asked.reference is not None
        wav = await asyncio.to_thread(Path(asked.reference.file).read_bytes)
        body = self._body(asked)
        body.pop("voice", None)
        body["ref_audio"] = f"data:audio/wav;base64,{base64.b64encode(wav).decode('ascii')}"
        if asked.reference.text:
            body["ref_text"] = asked.reference.text
        else:
            body["x_vector_only_mode"] = True
        how: dict[str, Any] = {"json": body, "headers": self._headers}
        sounds = self.http.spoken("POST", self._url("speech"), self.sample_rate_hz, asked.text, **how)
        async with contextlib.aclosing(sounds):
            async for sound in sounds:
                yield sound


class ServerSettings(Protocol):
    """What of the configuration the makers need."""

    @property
    def tts_options(self) -> Mapping[str, Mapping[str, Any]]:
        """By engine, as the sessions' own engines take them; `server` in it is the address."""
        ...


def cosyvoice_maker(settings: ServerSettings) -> ServedMaker:
    """By a CosyVoice server."""
    return _maker(CosyVoice, settings)


def sovits_maker(settings: ServerSettings) -> ServedMaker:
    """By a GPT-SoVITS server, which must see `FOLDER` by the same path."""
    return _maker(SovitsVoice, settings)


def index_maker(settings: ServerSettings) -> ServedMaker:
    """By an IndexTTS 2 page."""
    return _maker(IndexVoice, settings)


def omni_maker(settings: ServerSettings) -> ServedMaker:
    """By a vLLM-Omni server with a model that imitates."""
    return _maker(OmniCloner, settings)


def _maker(kind: type[ServerEngine], settings: ServerSettings) -> ServedMaker:
    """Only a server whose address is configured is offered: none is guessed."""
    given = settings.tts_options.get(kind.name, {})
    engine = kind(checked(kind.Options, kind.name, given), Common(os.environ))
    return ServedMaker(engine, configured=bool(given.get("server")))


def _recipe(wav: bytes, clip: Clip) -> dict[str, Any]:
    """JSON-ready: the recording as FLAC, a third of its size, and what is said in it."""
    pcm, rate_hz = soundfile.read(io.BytesIO(wav), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, pcm, rate_hz, subtype="PCM_16", format="FLAC")
    recording = base64.b64encode(file.getvalue()).decode("ascii")
    return {"recording": recording, "seconds": len(pcm) / rate_hz, "text": clip.text, "language": clip.language}


@functools.lru_cache(maxsize=8)
def _decoded(recording: str) -> bytes:
    return base64.b64decode(recording, validate=True)


def _content(recipe: Mapping[str, Any]) -> bytes:
    try:
        return _decoded(recipe["recording"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest("recipe: it holds no recording; it is no voice of a server that imitates") from error
