"""Times of words where an engine tells none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.voice import FakeEngine
from tests.virtual_time import run_virtual
from tts.chain import Chain
from tts.wordtimes import Paces, WordEstimate, tokens
from ttsreal import BaseTTS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good morning, all.", ["Good", "morning,", "all."]),
        ("今天很好。", ["今", "天", "很", "好。"]),
        ("我喜欢 Python 3.11 编程", ["我", "喜", "欢", "Python", "3.11", "编", "程"]),
        ("用Python写", ["用", "Python", "写"]),
        ("— … !", []),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    found = tokens(text)
    assert [word for word, _ in found] == words
    assert all(text[at:].startswith(word) for word, at in found)


@settings(max_examples=50)
@given(st.text(max_size=40), st.floats(0.4, 2.5), st.lists(st.floats(0.01, 3), max_size=20))
def test_every_word_is_given_once_and_in_order(text: str, factor: float, steps: list[float]) -> None:
    estimate = WordEstimate(text, factor, 0.03)
    given_: list[str] = []
    seconds = 0.0
    for step in steps:
        seconds += step
        passed = estimate.until(seconds)
        assert all(word.start_s < seconds and word.estimated for word in passed)
        given_ += [word.text for word in passed]
    rest = estimate.rest(seconds)
    assert all(word.start_s <= max(seconds, 0.03) for word in rest)
    assert given_ + [word.text for word in rest] == [word for word, _ in tokens(text)]
    assert estimate.rest(seconds) == ()


def test_a_voices_pace_is_learned() -> None:
    paces = Paces()
    text = "This is a rather long sentence to say."
    assert paces.factor("v") == 1.0
    for _ in range(5):
        paces.heard("v", text, 4.4)
    assert paces.factor("v") == pytest.approx(4.4 / 2.2, rel=0.1)
    before = paces.factor("v")
    paces.heard("v", "No.", 9.0)
    paces.heard("v", text, 900.0)
    assert before < paces.factor("v") < 2.5


def test_estimates_come_close_from_the_second_clause_on() -> None:
    """The fake says each character in 0.1 s, half as fast as expected; where its words are is known."""

    async def starts(tells: bool) -> list[dict[str, float]]:
        engine = FakeEngine(tell_words=tells, tells_words=tells, first_sound_s=0, chunk_s=0)
        chain = Chain([engine])
        text = "The quick brown foxes jumped over the lazy dogs again."
        words: list[dict[str, float]] = []
        for _ in range(2):
            words = [
                event.data
                async for burst in BaseTTS(chain).speak(text, turn=1)
                for frame in burst
                for event in frame.events
                if event.name == "word"
            ]
        return words

    told, guessed = run_virtual(starts(True)), run_virtual(starts(False))
    assert [word["text"] for word in guessed] == [word["text"] for word in told]
    assert all(word.get("estimated") for word in guessed) and not any("estimated" in word for word in told)
    errors = [abs(a["start_s"] - b["start_s"]) for a, b in zip(told, guessed, strict=True)]
    assert max(errors) < 0.6 and float(np.mean(errors)) < 0.3


def test_words_that_come_after_all_end_the_guessing() -> None:
    async def run() -> list[bool]:
        engine = FakeEngine(tell_words=True, tells_words=False, first_sound_s=0, chunk_s=0)
        chain = Chain([engine])
        found = []
        for _ in range(2):
            async for burst in BaseTTS(chain).speak("One two three.", turn=1):
                found += [bool(e.data.get("estimated")) for f in burst for e in f.events if e.name == "word"]
        return found

    assert not any(run_virtual(run()))


def test_half_a_clause_teaches_nothing() -> None:
    async def run() -> float:
        bad, good = FakeEngine("bad", fail_after=8, first_sound_s=0), FakeEngine("good", first_sound_s=0)
        chain = Chain([bad, good])
        async for _ in BaseTTS(chain).speak("The quick brown foxes jumped over the lazy dogs.", turn=1):
            pass
        return chain.paces.factor("bad:female@1.0")

    assert run_virtual(run()) == 1.0
