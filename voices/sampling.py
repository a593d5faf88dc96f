"""The preview of a voice that was just made."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np

from errors import EngineError
from text.clauses import language_of
from voices.audio.prepare import levelled, wav_bytes
from voices.cloning.base import Clip, Made, VoiceMaker

SAMPLE_TEXTS = {"zh": "很高兴认识你。", "en": "Nice to meet you."}
"""Short: whoever made the voice waits for it."""
TIMEOUT_S = 60.0
SECONDS_MAX = 30.0


def sample_text_for(clip: Clip, maker: VoiceMaker) -> str:
    """What a voice says first, when nobody has said what."""
    return SAMPLE_TEXTS.get(clip.language, SAMPLE_TEXTS["zh" if not clip.language else "en"])


async def speak_sample(maker: VoiceMaker, made: Made, model: str, text: str) -> bytes:
    """The text in the voice, as a WAV file.

    Raises:
        EngineError: the maker failed, or gave no sound.
    """
    language = language_of(text)
    sounds = maker.speak(made.voice_id, made.recipe, text, language, model, 1.0)
    pieces, samples = [], 0
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for sound in sounds:
                pieces.append(sound.pcm)
                samples += sound.pcm.size
                if samples > SECONDS_MAX * maker.sample_rate_hz:
                    break
    except TimeoutError as error:
        raise EngineError(maker.name, f"gave no preview within {TIMEOUT_S:.0f} s") from error
    finally:
        close = getattr(sounds, "aclose", None)
        if close is not None:
            with contextlib.suppress(EngineError):
                await close()
    if not samples:
        raise EngineError(maker.name, f"gave no sound for the preview {text[:40]!r}")
    pcm = np.concatenate(pieces)
    return await asyncio.to_thread(lambda: wav_bytes(levelled(pcm, maker.sample_rate_hz), maker.sample_rate_hz))
