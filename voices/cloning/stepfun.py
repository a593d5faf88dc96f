"""Voices cloned by StepFun: the recording is uploaded, the voice made of it lies there and speaks from there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import wave
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np

from errors import BadRequest, EngineError, VisageError
from media import Pcm
from tts.base import Sound
from tts.stepfun import StepFunOptions, StepFunVoice
from tts.wire.audio import AudioStream, NotSound
from tts.wire.compressed import kind_of
from tts.wire.engine import Asked
from tts.wire.options import Common, checked
from tts.wire.texts import parts
from voices.audio.prepare import levelled, wav_bytes
from voices.cloning.base import Clip, Made, Progress
from voices.cloning.served import ServerSettings
from voices.cloning.stepfunapi import StepFunApi
from voices.cloning.vendor import Vendor

MODELS = ("step-tts-2", "step-tts-mini", "step-audio-2", "stepaudio-2.5-tts", "stepaudio-3-tts", "step-tts-vivid")
"""That clone; the vendor adds to them, and any that `tts_options` names is offered too."""
SECONDS_MIN, SECONDS_MAX = 5.0, 10.0
SAMPLE_SECONDS_MIN, SAMPLE_SECONDS_MAX = 0.2, 30.0
LET_GO_S = 5.0
"""For taking back an upload of which no voice was made."""

log = logging.getLogger(__name__)


class StepFunMaker:
    """See `VoiceMaker`.

    Args:
        engine: the account's address, key and connections; its own model is the default.
        vendor: through whom all is asked; None: as this server asks.
    """

    name = StepFunVoice.name
    clones = True

    def __init__(self, engine: StepFunVoice, vendor: Vendor | None = None) -> None:
        self._engine = engine
        self._vendor = vendor or Vendor(engine.http, "阶跃星辰")
        self._api = StepFunApi(engine, self._vendor)
        self.models: tuple[str, ...] = tuple(dict.fromkeys((engine.options.model, *MODELS)))
        self.sample_rate_hz = engine.sample_rate_hz

    def why_not(self) -> str | None:
        """None when its key is set and was not refused lately."""
        barred = self._vendor.barred
        return self._engine.why_not() or (str(barred) if barred is not None else None)

    def why_not_zh(self) -> str:
        """The same in Chinese."""
        lack, barred = self._engine.lack(), self._vendor.barred
        return f"{self.name}：{lack.zh}" if lack else barred.zh if barred is not None else ""

    async def check(self) -> str:
        """Ask whether the key is taken; one sentence of what there is.

        Raises:
            EngineError: it is not, or the vendor cannot be reached.
        """
        return f"the key is taken; {self.models[0]} has {await self._api.check(self.models[0])} voices of its own"

    def figures(self) -> dict[str, float]:
        """For `/metrics`."""
        return {
            "voices_stepfun_key_refused": float(self._vendor.barred is not None),
            "voices_stepfun_key_refusals_total": float(self._vendor.key_refusals),
            "voices_stepfun_failures_total": float(self._vendor.failures),
            "voices_stepfun_retries_total": float(self._vendor.retries),
        }

    async def make(self, clip: Clip, model: str, sample_text: str, progress: Progress) -> Made:
        """Have StepFun clone a recording; the same recording and model again give the same voice.

        Raises:
            BadRequest: the recording is longer or shorter than StepFun takes.
            EngineError: StepFun failed or refused it; nothing of the recording is left there then.
        """
        wav = await asyncio.to_thread(clip.wav.read_bytes)
        _check_length(wav)
        progress("uploading", 0.05)
        file_id = await self._api.upload(wav, f"{clip.sha256[:32] or 'recording'}.wav")
        try:
            progress("cloning", 0.35)
            cloned = await self._api.clone(model, file_id, clip.text, sample_text)
            progress("previewing", 0.8)
            sample = await _playable(cloned.sample)
            sample = sample or await self._preview(model, file_id, clip.text, sample_text)
            if cloned.duplicated:
                file_id = await self._kept_file(cloned.voice_id, file_id)
        except BaseException:
            await self._take_back(file_id)
            raise
        languages = sorted(self._engine.spoken, key=lambda language: language != clip.language)
        recipe = {"file_id": file_id}
        return Made(cloned.voice_id, recipe, tuple(languages), sample, duplicated=cloned.duplicated)

    async def _preview(self, model: str, file_id: str, text: str, sample_text: str) -> bytes:
        """Of models whose clones come without one; nothing where there is none: then the voice itself is heard."""
        try:
            return await _playable(await self._api.preview(model, file_id, text, sample_text))
        except EngineError as error:
            log.info("no preview, the voice itself is asked to speak: %s", error)
            return b""

    async def _kept_file(self, voice_id: str, uploaded: str) -> str:
        """The recording that an earlier voice was made of; a second upload of it is deleted."""
        try:
            kept = await self._api.file_of(voice_id)
            if kept and kept != uploaded:
                await self._api.delete_file(uploaded)
                return kept
        except EngineError as error:
            log.warning("recording %s stays at StepFun until its voice is deleted: %s", uploaded, error)
        return uploaded

    async def _take_back(self, file_id: str) -> None:
        """Delete an upload of which no voice is made, also while being cancelled."""
        try:
            async with asyncio.timeout(LET_GO_S):
                await self._api.delete_file(file_id)
        except (VisageError, TimeoutError) as error:
            log.warning("recording %s of which no voice was made stays at StepFun: %s", file_id, error or "no answer")

    async def speak(
        self, voice_id: str, recipe: Mapping[str, Any], text: str, language: str, model: str, speed: float
    ) -> AsyncGenerator[Sound, None]:
        """The text, as StepFun makes it.

        Raises:
            EngineError: StepFun failed or refused it.
        """
        for part in parts(text, self._engine.part_characters):
            if not any(map(str.isalnum, part)):
                continue
            asked = Asked(part, voice_id, language, speed)
            async with contextlib.aclosing(self._api.speech(asked, model or self.models[0])) as sounds:
                async for sound in sounds:
                    yield sound

    async def forget(self, voice_id: str, recipe: Mapping[str, Any]) -> None:
        """Delete the voice and its recording at StepFun, as far as StepFun lets them be deleted.

        Raises:
            EngineError: StepFun could not be asked.
        """
        if reason := self.why_not():
            raise EngineError(self.name, reason.removeprefix(f"{self.name}: "))
        if voice_id and not await self._api.delete_voice(voice_id):
            log.info("voice %s was not there, or StepFun lets none be deleted", voice_id)
        if file_id := recipe.get("file_id"):
            await self._api.delete_file(str(file_id))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.aclose()


def stepfun_maker(settings: ServerSettings) -> StepFunMaker:
    """By StepFun; its key comes from the environment variable STEP_API_KEY and from nowhere else."""
    options = checked(StepFunOptions, StepFunVoice.name, settings.tts_options.get(StepFunVoice.name, {}))
    return StepFunMaker(StepFunVoice(options, Common(os.environ)))


def _check_length(wav: bytes) -> None:
    with wave.open(io.BytesIO(wav)) as file:
        seconds = file.getnframes() / file.getframerate()
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        bounds = f"{SECONDS_MIN:g}", f"{SECONDS_MAX:g}"
        raise BadRequest(
            f"stepfun: the recording lasts {seconds:.1f} s, but must last {bounds[0]} to {bounds[1]} s",
            f"录音时长为 {seconds:.1f} 秒，阶跃星辰要求 {bounds[0]} 至 {bounds[1]} 秒",
        )


async def _playable(sample: bytes) -> bytes:
    """A vendor's preview as a WAV file of ours; nothing where it is no sound."""
    if not (sample.startswith(b"RIFF") or kind_of(sample)):
        return b""
    return await asyncio.to_thread(_as_wav, sample)


def _as_wav(sample: bytes) -> bytes:
    stream = AudioStream(24_000)
    try:
        pieces: list[Pcm] = [*stream.feed(sample), *stream.flush()]
    except (NotSound, ValueError):
        return b""
    pcm = np.concatenate([np.zeros(0, np.float32), *pieces])[: round(SAMPLE_SECONDS_MAX * stream.rate_hz)]
    if pcm.size < SAMPLE_SECONDS_MIN * stream.rate_hz or not np.isfinite(pcm).all():
        return b""
    return wav_bytes(levelled(pcm, stream.rate_hz), stream.rate_hz)
