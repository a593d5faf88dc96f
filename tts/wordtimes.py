"""When the words of a clause are heard, where its engine does not say: each by its share of the clause's length.

A voice's real pace is learned clause by clause, so that a guess is off by a tenth of the clause or so from the second
clause on. The page's captions and what a conversation remembers as heard need no more.
"""

from __future__ import annotations

import re
from collections import deque

from text.letters import script_of, spoken_s
from tts.base import Word

LEARNED = 0.4
"""Share of the newest clause in what is known of a voice's pace."""
FACTOR_MIN, FACTOR_MAX = 0.4, 2.5
LEARN_FROM_S = 0.8
"""A shorter clause says more about its last vowel than about the pace."""
_TOKEN = re.compile(r"\S+")


def tokens(text: str) -> list[tuple[str, int]]:
    """The words of a text and where they begin: runs between spaces, and single characters where none are written.

    Marks belong to the word before them.
    """
    found: list[tuple[str, int]] = []
    for run in _TOKEN.finditer(text):
        begin = run.start()
        for at in range(run.start() + 1, run.end()):
            if script_of(text[at]) in _ALONE or (script_of(text[at]) and script_of(text[at - 1]) in _ALONE):
                found.append((text[begin:at], begin))
                begin = at
        found.append((text[begin : run.end()], begin))
    return [(word, at) for word, at in found if any(map(script_of, word))]


_ALONE = ("HAN", "KANA")


class Paces:
    """How fast each voice speaks, and which tell their words themselves; shared by all sessions."""

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}
        self._tell: set[str] = set()

    def factor(self, voice: str) -> float:
        """Seconds it takes for what `spoken_s` calls one."""
        return self._factors.get(voice, 1.0)

    def heard(self, voice: str, text: str, seconds: float) -> None:
        """Learn from a whole clause."""
        expected_s = spoken_s(text)
        if min(expected_s, seconds) > LEARN_FROM_S:
            factor = min(FACTOR_MAX, max(FACTOR_MIN, seconds / expected_s))
            known = self._factors.get(voice, factor)
            self._factors[voice] = (1 - LEARNED) * known + LEARNED * factor

    def tells(self, voice: str) -> bool:
        """Whether the voice was heard to tell its words."""
        return voice in self._tell

    def told(self, voice: str) -> None:
        """It just did."""
        self._tell.add(voice)


class WordEstimate:
    """The words of one clause, given out as its sound passes them.

    Args:
        text: the clause.
        factor: seconds for what `spoken_s` calls one.
        begin_s: of the first word.
    """

    def __init__(self, text: str, factor: float, begin_s: float) -> None:
        found = tokens(text)
        starts = [begin_s + factor * spoken_s(text[:at]) for _, at in found]
        ends = [*starts, begin_s + factor * spoken_s(text)][1:]
        self._left = deque(
            Word(word, start_s, end_s, estimated=True)
            for (word, _), start_s, end_s in zip(found, starts, ends, strict=True)
        )

    def until(self, seconds: float) -> tuple[Word, ...]:
        """The words that begin before so much of the clause was heard."""
        passed = []
        while self._left and self._left[0].start_s < seconds:
            passed.append(self._left.popleft())
        return tuple(passed)

    def rest(self, seconds: float) -> tuple[Word, ...]:
        """The words that are left when the clause ends sooner than expected: all in what remains before `seconds`."""
        left = [Word(word.text, min(word.start_s, seconds), min(word.end_s, seconds), True) for word in self._left]
        self._left.clear()
        return tuple(left)
