"""What the conversation benchmarks compute from recordings, texts and events: no browser, no server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from benchmarks import analysis, heard
from benchmarks.conversation import false_ones, interruptions, own_voice, stages_s, voice_to_voice
from benchmarks.questions import ANSWERS, STORIES
from benchmarks.recording import Sound
from benchmarks.scripted_model import FIRST_TOKEN_S, ScriptedModel, tokens
from benchmarks.tape import RATE_HZ, Cue, Tape, cough, trimmed
from benchmarks.taped import HUSH_MS, Talk
from benchmarks.told import EventLog, Told
from listening.turntext import judge

RNG = np.random.default_rng(5)


def voice(seconds: float) -> np.ndarray:
    """Syllables of noise."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    syllables = np.abs(np.sin(2 * np.pi * 1.7 * t + RNG.uniform(0, 3))) * RNG.uniform(0.5, 1)
    return np.asarray(0.2 * syllables * RNG.standard_normal(len(t)), np.float32)


def tape() -> Tape:
    made = Tape(1.0)
    for text, seconds, gap_s in (("one", 0.9, 2.0), ("two", 1.4, 3.0), ("three", 0.7, 1.0)):
        made.say(text, "en", voice(seconds))
        made.pause(gap_s)
    return made


def test_the_benchmarks_page_is_silent_for_as_long_as_the_products() -> None:
    source = (Path(__file__).parent.parent / "web" / "src" / "hush.ts").read_text("utf-8")
    found = re.search(r"HUSH_MS = (\d+);", source)
    assert found and {int(found[1])} == set(HUSH_MS.values())
    assert all(f'case "{name}":' in source for name in HUSH_MS)


def test_tells_when_a_tape_was_played_though_gain_and_noise_differ() -> None:
    made = tape()
    played = analysis.envelope(made.pcm(), RATE_HZ)
    late = np.concatenate([np.zeros(437), played, np.zeros(300)]) * 0.3 + 1e-4 * RNG.random(len(played) + 737)
    t = 100.0 + analysis.hops_s(len(late))
    begins = heard.beginning(played, t, late)
    assert begins == pytest.approx(100.0 + 437 * analysis.HOP_S, abs=0.011)
    cue = made.cues[1]
    assert heard.place(played, cue.begins_s, cue.ends_s, t, late, begins + 0.06) == pytest.approx(begins, abs=0.011)


def test_another_sound_is_not_taken_for_the_tape() -> None:
    played = analysis.envelope(tape().pcm(), RATE_HZ)
    hum = np.full(4000, 0.1)
    with pytest.raises(ValueError, match="not the recording"):
        heard.beginning(played, analysis.hops_s(4000), hum * RNG.random(4000))
    with pytest.raises(ValueError, match="no sound"):
        heard.beginning(played, np.zeros(0), np.zeros(0))


def test_a_cue_is_where_its_sentence_is() -> None:
    made = tape()
    envelope = analysis.dbfs(analysis.envelope(made.pcm(), RATE_HZ))
    for cue in made.cues:
        inside = slice(round(cue.begins_s / analysis.HOP_S), round(cue.ends_s / analysis.HOP_S))
        assert envelope[inside].max() > -25
        assert envelope[inside.stop + 1 : inside.stop + 100].max() < -60
    assert len(trimmed(np.pad(voice(0.5), RATE_HZ))) <= 0.51 * RATE_HZ
    assert 0.5 < len(cough()) / RATE_HZ < 0.8


@pytest.mark.parametrize(
    ("said", "recognised", "wrong"),
    [
        ("How are you?", "how are you", 0),
        ("How are you?", "How old are you?", 1),
        ("Don’t go.", "don't go", 0),
        ("这幅画是谁画的？", "这幅画是谁画", 1),
        ("今天 OK 吗", "今天ok吗？", 0),
        ("one two three", "", 3),
    ],
)
def test_counts_errors_in_words_and_in_characters(said: str, recognised: str, wrong: int) -> None:
    assert heard.errors(heard.units(said), heard.units(recognised)) == wrong


def test_error_percent_is_of_all_that_was_said() -> None:
    assert heard.error_percent([("one two three", "one two"), ("four", "four")]) == pytest.approx(25.0)


@pytest.mark.parametrize("text", [*ANSWERS["en"], *ANSWERS["zh"], *STORIES.values()])
def test_the_scripted_model_says_everything_in_words(text: str) -> None:
    assert "".join(tokens(text)) == text
    assert max(map(len, tokens(text))) < 14


def test_the_scripted_model_streams_as_openai_does() -> None:
    async def ask() -> tuple[str, float]:
        async with ScriptedModel(lambda question: f"So {question} it is.") as model, aiohttp.ClientSession() as http:
            body = {"messages": [{"role": "user", "content": "before\ntea"}], "stream": True}
            sent, text, first_s = time.monotonic(), "", 0.0
            async with http.post(f"{model.url}/chat/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        first_s = first_s or time.monotonic() - sent
                        text += json.loads(line[6:])["choices"][0]["delta"]["content"]
            assert [asked.question for asked in model.asked] == ["tea"]
            return text, first_s

    text, first_s = asyncio.run(ask())
    assert text == "So tea it is."
    assert first_s >= FIRST_TOKEN_S


def conversation(cues: list[Cue], sounds: list[tuple[float, float]], events: list[Told], ends: float = 40.0) -> Talk:
    """She sounds in each of `sounds` (from, to)."""
    t = analysis.hops_s(round(ends / analysis.HOP_S))
    rms = np.zeros(len(t))
    for begins, until in sounds:
        rms[(t >= begins) & (t < until)] = 0.1
    log = EventLog("http://nowhere", "1")
    log.events = events
    return Talk(cues, ends, Sound(t, rms), log)


def test_voice_to_voice_is_from_the_last_sound_to_her_first() -> None:
    events = [
        Told("transcript.partial", 2.3, {"text": "one"}),
        Told("transcript.final", 2.6, {"text": "one"}),
        Told("latency", 3.0, {"first_text_s": 0.0, "first_sound_s": 0.25}),
        Told("speech.started", 2.85, {}),
    ]
    cues = [Cue("one", "en", 1.0, 2.0), Cue("two", "en", 8.0, 9.0), Cue("three", "en", 15.0, 16.0)]
    found = voice_to_voice(conversation(cues, [(3.0, 5.0), (8.5, 9.5)], events), "English")
    p50, p95, *stages = found
    assert p50.values == p95.values == [pytest.approx(1.0)]
    assert (p50.judge, p50.bar, p95.judge, p95.bar) == ("p50", 1.0, "p95", 1.8)
    assert "spoke too soon: two" in p50.failed[0]
    assert "no answer: three" in p50.failed[1]
    assert p50.passed is False
    assert [stage.values[0] for stage in stages] == pytest.approx([0.3, 0.6, 0.0, 0.25, 0.15])


def test_stages_that_were_not_told_are_none() -> None:
    assert set(stages_s(conversation([], [], []), 0.0, 9.0, 1.0)) == {None}


def test_an_interruption_is_from_the_first_sound_over_her_to_silence() -> None:
    cues = [Cue("tell", "en", 0.0, 1.0), Cue("stop", "en", 5.0, 6.0), Cue("no", "en", 10.0, 11.0)]
    events = [Told("paused", 5.3, {}), Told("interrupted", 5.9, {})]
    silence, decided, meant = interruptions(conversation(cues, [(2.0, 5.4), (7.0, 40.0)], events))
    assert silence.values == [pytest.approx(0.4)]
    assert silence.failed == ["she did not stop: no"]
    assert decided.values == [pytest.approx(0.3)]
    assert meant.values == [pytest.approx(0.9)]


def test_who_is_silent_cannot_be_interrupted() -> None:
    cues = [Cue("tell", "en", 0.0, 1.0), Cue("stop", "en", 5.0, 6.0)]
    assert interruptions(conversation(cues, [(2.0, 4.0)], []))[0].failed == ["she was not speaking: stop"]


def words(text: str) -> list[Told]:
    return [Told("word", 2.0 + n / 10, {"text": word, "turn": 1}) for n, word in enumerate(text.split())]


def test_a_cough_may_pause_her_but_not_end_her_turn() -> None:
    cues = [Cue("tell", "en", 0.0, 1.0), Cue("cough", "en", 5.0, 5.5), Cue("mm", "en", 12.0, 12.5)]
    events = [*words("Long ago there was"), Told("paused", 5.4, {}), Told("resumed", 6.4, {})]
    ended, paused, length, lost = false_ones(conversation(cues, [(2.0, 5.4), (6.5, 40.0)], events))
    assert ended.values == [0.0, 0.0] and ended.passed
    assert paused.values == [1.0, 0.0]
    assert length.values == [pytest.approx(1.0)]
    assert lost.passed


def test_a_turn_that_a_cough_ends_and_words_said_twice_fail() -> None:
    cues = [Cue("tell", "en", 0.0, 1.0), Cue("cough", "en", 5.0, 5.5)]
    events = [*words("Long ago ago there was"), Told("paused", 5.4, {}), Told("interrupted", 6.4, {})]
    ended, _, _, lost = false_ones(conversation(cues, [(2.0, 5.4)], events))
    assert ended.passed is False
    assert lost.passed is False


def test_her_own_voice_must_not_end_her_turn() -> None:
    cues = [Cue("tell", "en", 0.0, 1.0)]
    assert own_voice(conversation(cues, [(2.0, 9.0)], []))[0].passed
    assert not own_voice(conversation(cues, [(2.0, 9.0)], [Told("interrupted", 4.0, {})]))[0].passed
    assert not own_voice(conversation(cues, [], []))[0].passed


def test_everything_the_user_says_reads_finished() -> None:
    from benchmarks.questions import OVER_HER, QUESTIONS

    said = [(text, "zh") for text in QUESTIONS["zh"]] + [(text, "en") for text in (*QUESTIONS["en"], *OVER_HER)]
    assert [text for text, language in said if judge(text, language) != "finished"] == []
