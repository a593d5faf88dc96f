"""The designed voice: its recipe, what Kokoro makes of it, and how like the recorded speaker it is."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import hibari
import numpy as np
import pytest
import soundfile
import soxr

from errors import BadRequest, EngineError, Unavailable
from media import SAMPLE_RATE_HZ, Pcm
from tts.base import Sound, Voice
from tts.kokoro import KokoroEngine
from tts.kokorodesign import Design
from voices.cloning.base import Clip
from voices.cloning.designed import MODEL, DesignedMaker
from voices.cloning.designtable import Table
from voices.cloning.pitch import Pitch, pitch_of
from voices.speakers.local import CampPlus

RATE_HZ = 24_000
ENGLISH = "The weather is calm and clear today."
needs_speaker = pytest.mark.skipif(CampPlus().why_not() is not None, reason=str(CampPlus().why_not()))
needs_kokoro = pytest.mark.skipif(KokoroEngine().why_not() is not None, reason=str(KokoroEngine().why_not()))


@dataclasses.dataclass
class Asked:
    clause: str
    voice: str
    language: str
    how: dict[str, Any]


class ScriptedKokoro:
    """Says a tone for a clause and notes how it was asked."""

    sample_rate_hz = RATE_HZ

    def __init__(self, names: tuple[str, ...] = Table.load().names) -> None:
        self._names = names
        self.asked: list[Asked] = []
        self.closed = False

    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(f"kokoro:{name}", "kokoro", ("en",), "female", "Apache-2.0") for name in self._names)

    def why_not(self) -> str | None:
        return None if self._names else "kokoro: no weights"

    async def speak(self, clause: str, voice: Voice, language: str, **how: Any) -> AsyncGenerator[Sound, None]:
        self.asked.append(Asked(clause, voice.id, language, how))
        yield Sound(np.zeros(0, np.float32))
        yield Sound((0.1 * np.sin(np.arange(RATE_HZ) / 20)).astype(np.float32))

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def speech() -> Pcm:
    return np.asarray(soxr.resample(hibari.Hibari(threads=1)(ENGLISH, seed=1), RATE_HZ, SAMPLE_RATE_HZ), np.float32)


def clip(pcm: Pcm, language: str = "en") -> Clip:
    return Clip(Path("none.wav"), pcm, "", "", language)


def vector_of(name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    table = Table.load()
    own = table.vectors[table.names.index(name)]
    return np.asarray(own / np.linalg.norm(own), np.float32)


# pitch


@pytest.mark.parametrize("hz", [70.0, 120.0, 220.0, 400.0])
def test_the_pitch_of_a_buzz_is_found_in_noise(hz: float) -> None:
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    buzz = np.sum([np.sin(2 * np.pi * hz * number * time_s) / number for number in range(1, 8)], 0)
    noise = np.random.default_rng(0).normal(0, 0.1, buzz.size)
    found = pitch_of((0.1 * (buzz + noise)).astype(np.float32))
    assert found.median_hz == pytest.approx(hz, rel=0.01)
    assert found.spread < 0.02
    assert found.voiced > 0.9


@pytest.mark.parametrize("pcm", [np.zeros(16_000), np.zeros(0), np.random.default_rng(0).normal(size=16_000)])
def test_what_has_no_pitch_is_not_given_one(pcm: Any) -> None:
    assert pitch_of(pcm.astype(np.float32)).median_hz == 0


# the table


def test_a_speaker_like_a_voice_of_kokoro_is_designed_near_it() -> None:
    table = Table.load()
    found = table.design(vector_of("am_adam"), Pitch(0.0, 0.0, 0.0), "en", set(table.names))
    assert found.nearest == "am_adam"
    assert found.expected > 0.75
    assert sum(found.timbre.values()) == pytest.approx(1, abs=1e-3)
    assert found.prosody["en"][0][0] in "ab"
    assert found.prosody["zh"][0][0] == "z"


def test_the_same_speaker_gives_the_same_design_and_another_another() -> None:
    table = Table.load()
    pitch = Pitch(180.0, 0.1, 0.8)
    first, again = (table.design(vector_of("bf_emma"), pitch, "en", set(table.names)) for _ in range(2))
    other = table.design(vector_of("zm_yunxi"), pitch, "zh", set(table.names))
    assert first == again
    assert other.timbre != first.timbre


@pytest.mark.parametrize("hz", [60.0, 500.0])
def test_a_pitch_out_of_reach_stays_within_bounds(hz: float) -> None:
    table = Table.load()
    found = table.design(vector_of("af_heart"), Pitch(hz, 0.1, 0.8), "en", set(table.names))
    Design.of({"timbre": found.timbre, "formants": found.formants, "pitch": found.prosody["en"][1]})


def test_only_installed_voices_are_used() -> None:
    table = Table.load()
    few = {"af_heart", "am_adam", "zf_xiaoyi"}
    found = table.design(vector_of("bm_lewis"), Pitch(100.0, 0.1, 0.8), "en", few)
    assert set(found.timbre) <= few
    assert found.prosody["en"][0] in few and found.prosody["zh"][0] in few
    english = table.design(vector_of("bm_lewis"), Pitch(100.0, 0.1, 0.8), "zh", {"af_heart"})
    assert english.prosody.keys() == {"en"} and english.timbre == {"af_heart": 1.0}
    with pytest.raises(ValueError, match="none of Kokoro's voices"):
        table.design(vector_of("bm_lewis"), Pitch(100.0, 0.1, 0.8), "en", {"stranger"})


@pytest.mark.parametrize("first", range(0, 36, 5))
def test_few_installed_voices_still_give_a_design_within_bounds(first: int) -> None:
    table = Table.load()
    few = set(table.names[first : first + 3])
    for name in ("am_adam", "zf_xiaobei", "bf_emma"):
        found = table.design(vector_of(name), Pitch(150.0, 0.1, 0.8), "en", few)
        design = Design.of({"timbre": found.timbre, "formants": found.formants})
        assert set(design.timbre) <= few
        assert sum(design.timbre.values()) == pytest.approx(1, abs=1e-3)


# the recipe


@pytest.mark.parametrize(
    "facts",
    [
        {"timbre": []},
        {"timbre": {"af_heart": "much"}},
        {"timbre": {"af_heart": float("nan")}},
        {"timbre": {"af_heart": 5}},
        {"timbre": {str(number): 0.01 for number in range(101)}},
        {"pitch": 0},
        {"pitch": True},
        {"formants": 2},
    ],
)
def test_a_design_out_of_bounds_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="design: "):
        Design.of(facts)


def test_a_design_mixes_one_half_of_a_style() -> None:
    packs = {name: np.full((3, 1, 256), value, np.float32) for name, value in (("one", 1.0), ("two", 2.0))}
    mixed = Design({"one": 0.25, "two": 0.75}).style(np.full((3, 1, 256), 9.0, np.float32), packs)
    assert np.all(mixed[..., :128] == 1.75)
    assert np.all(mixed[..., 128:] == 9.0)


@needs_speaker
async def test_a_recording_becomes_a_recipe_with_a_preview(speech: Pcm) -> None:
    kokoro = ScriptedKokoro()
    maker = DesignedMaker(kokoro, CampPlus())
    stages: list[tuple[str, float]] = []
    made = await maker.make(clip(speech), MODEL, "Hello, it is a pleasure.", lambda *stage: stages.append(stage))
    assert not maker.clones
    assert json.loads(json.dumps(made.recipe)) == made.recipe
    assert made.languages == ("en", "zh")
    pcm, rate_hz = soundfile.read(io.BytesIO(made.sample))
    assert (pcm.size, rate_hz) == (RATE_HZ, RATE_HZ)
    assert made.similarity is not None and -1 <= made.similarity <= 1
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert kokoro.asked[0].how["design"]["timbre"] == made.recipe["design"]["timbre"]
    again = await maker.make(clip(speech), MODEL, "", lambda *_: None)
    assert again.recipe == made.recipe
    assert again.sample == b"" and again.similarity is None
    await maker.aclose()
    assert not kokoro.closed


@needs_speaker
async def test_a_long_preview_is_left_to_the_listener(speech: Pcm) -> None:
    kokoro = ScriptedKokoro()
    maker = DesignedMaker(kokoro, CampPlus(), owns_kokoro=True)
    made = await maker.make(clip(speech), MODEL, "word " * 60, lambda *_: None)
    assert made.sample == b"" and not kokoro.asked
    await maker.aclose()
    assert kokoro.closed


@needs_speaker
async def test_silence_makes_no_voice() -> None:
    maker = DesignedMaker(ScriptedKokoro(), CampPlus())
    with pytest.raises(EngineError, match="silence"):
        await maker.make(clip(np.zeros(80_000, np.float32)), MODEL, "", lambda *_: None)
    await maker.aclose()


async def test_without_kokoro_the_reason_is_told(speech: Pcm) -> None:
    maker = DesignedMaker(ScriptedKokoro(()), CampPlus())
    assert "no weights" in str(maker.why_not())
    with pytest.raises(Unavailable, match="no weights"):
        await maker.make(clip(speech), MODEL, "", lambda *_: None)
    await maker.aclose()


RECIPE = {
    "design": {"timbre": {"am_adam": 1.2, "af_heart": -0.2}, "formants": 1.1},
    "prosody": {"en": {"voice": "am_adam", "pitch": 0.9}, "zh": {"voice": "zm_yunxi", "pitch": 1.1}},
}


async def spoken(maker: DesignedMaker, recipe: Any, text: str, language: str, speed: float = 1.0) -> Pcm:
    async with contextlib.aclosing(maker.speak("", recipe, text, language, MODEL, speed)) as sounds:
        return np.concatenate([np.zeros(0, np.float32), *[sound.pcm async for sound in sounds]])


async def test_each_language_has_its_own_speaker_and_a_strange_one_is_read_as_english() -> None:
    kokoro = ScriptedKokoro()
    maker = DesignedMaker(kokoro, CampPlus())
    await spoken(maker, RECIPE, "你好。今天天气很好。", "zh", 1.5)
    await spoken(maker, RECIPE, "Bonjour.", "fr")
    assert [asked.voice for asked in kokoro.asked] == ["kokoro:zm_yunxi"] * 2 + ["kokoro:am_adam"]
    assert kokoro.asked[0].how["speed"] == 1.5
    assert kokoro.asked[0].how["design"]["pitch"] == 1.1
    assert kokoro.asked[2].language == "en"
    assert (await spoken(maker, RECIPE, "……", "zh")).size == 0
    await maker.aclose()


@pytest.mark.parametrize("recipe", [{}, {"prosody": []}, {"prosody": {"en": {"voice": "am_adam"}}, "design": {}}])
async def test_what_is_no_recipe_is_refused(recipe: Any) -> None:
    maker = DesignedMaker(ScriptedKokoro(), CampPlus())
    with pytest.raises(BadRequest, match="no designed voice"):
        await spoken(maker, recipe, "Hello.", "en")
    await maker.aclose()


async def test_a_voice_that_was_taken_away_is_told() -> None:
    maker = DesignedMaker(ScriptedKokoro(("af_heart",)), CampPlus())
    with pytest.raises(EngineError, match="'am_adam' is not installed"):
        await spoken(maker, RECIPE, "Hello.", "en")
    await maker.aclose()


# the real one


@pytest.mark.voice
@needs_kokoro
@needs_speaker
async def test_kokoro_moves_pitch_and_formants_apart(speech: Pcm) -> None:
    engine = KokoroEngine()
    voice = next(voice for voice in engine.voices() if voice.id == "kokoro:am_adam")

    async def say(**design: Any) -> tuple[Pcm, list[float]]:
        sounds = [sound async for sound in engine.speak(ENGLISH, voice, "en", design=design)]
        return np.concatenate([sound.pcm for sound in sounds]), [w.end_s for s in sounds for w in s.words]

    plain, ends = await say(timbre={})
    high, _ = await say(timbre={}, pitch=1.3)
    wide, wide_ends = await say(timbre={}, formants=1.2)
    with pytest.raises(BadRequest, match="'nobody', which is no voice"):
        await say(timbre={"nobody": 1.0})
    await engine.aclose()

    def hz(pcm: Pcm) -> float:
        return pitch_of(np.asarray(soxr.resample(pcm, RATE_HZ, SAMPLE_RATE_HZ), np.float32)).median_hz

    def centre_hz(pcm: Pcm) -> float:
        power = np.abs(np.fft.rfft(pcm)) ** 2
        bins = np.fft.rfftfreq(pcm.size, 1 / RATE_HZ)
        kept = (bins > 300) & (bins < 6000)
        return float(np.exp(np.average(np.log(bins[kept]), weights=power[kept])))

    assert hz(high) == pytest.approx(1.3 * hz(plain), rel=0.06)
    assert hz(wide) == pytest.approx(hz(plain), rel=0.06)
    assert centre_hz(wide) > 1.08 * centre_hz(plain)
    assert high.size == plain.size
    assert wide.size == pytest.approx(plain.size, rel=0.05)
    assert np.allclose(ends, wide_ends, atol=0.1)


@pytest.mark.voice
@needs_kokoro
@needs_speaker
async def test_a_designed_voice_is_nearer_to_its_speaker_than_to_another(speech: Pcm) -> None:
    speaker = CampPlus()
    maker = DesignedMaker(KokoroEngine(), speaker, owns_kokoro=True)
    # A speaker that is not in Kokoro: hibari's with a throat a fifth longer.
    taller = np.asarray(soxr.resample(speech, SAMPLE_RATE_HZ, 20_000), np.float32)
    heard = []
    for pcm in (speech, taller):
        made = await maker.make(clip(pcm), MODEL, ENGLISH, lambda *_: None)
        sample, _ = soundfile.read(io.BytesIO(made.sample), dtype="float32")
        heard.append(speaker.vector(np.asarray(soxr.resample(sample, RATE_HZ, SAMPLE_RATE_HZ), np.float32)))
    wanted = [speaker.vector(pcm) for pcm in (speech, taller)]
    await maker.aclose()
    likeness = np.array(heard) @ np.array(wanted).T
    assert likeness[0, 0] > likeness[0, 1] + 0.1
    assert likeness[1, 1] > likeness[1, 0] + 0.1
