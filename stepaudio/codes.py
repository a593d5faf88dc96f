"""The two codebooks of Step-Audio's tokenizer, and the one stream of tokens they are woven into.

Linguistic codes (`vq02`) come 16.67 times a second, semantic ones (`vq06`) 25 times: every 120 ms two of the first are
followed by three of the second. Both share one range of token numbers, which a language model's vocabulary continues
from `FIRST_ID` on and which is written `<audio_N>` in text (Step-Audio technical report, section 2.1).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from errors import Unprocessable

LINGUISTIC_SIZE = 1024
SEMANTIC_SIZE = 4096
TOKENS = LINGUISTIC_SIZE + SEMANTIC_SIZE
"""Numbers 0 to 1023 are linguistic, 1024 to 5119 semantic."""
FIRST_ID = 65_536
"""Id of `<audio_0>`: the text vocabulary comes first."""
VOCABULARY_MIN = FIRST_ID + TOKENS
LINGUISTIC_PER_GROUP = 2
SEMANTIC_PER_GROUP = 3
GROUP = LINGUISTIC_PER_GROUP + SEMANTIC_PER_GROUP
GROUP_S = 0.12
TOKENS_PER_S = GROUP / GROUP_S

_TOKEN = re.compile(r"<audio_(\d{1,9})>")


@dataclasses.dataclass(frozen=True, slots=True)
class Codes:
    """What was heard, by codebook."""

    linguistic: tuple[int, ...]
    """0..1023 each, 16.67 a second."""
    semantic: tuple[int, ...]
    """0..4095 each, 25 a second."""

    @property
    def groups(self) -> int:
        """Whole groups of 120 ms; what is beyond them cannot be told to a model."""
        return min(len(self.linguistic) // LINGUISTIC_PER_GROUP, len(self.semantic) // SEMANTIC_PER_GROUP)


class Interleaver:
    """Weaves codes together as they come, in whichever portions."""

    def __init__(self) -> None:
        self._linguistic: list[int] = []
        self._semantic: list[int] = []

    def add(self, linguistic: Iterable[int] = (), semantic: Iterable[int] = ()) -> list[int]:
        """Take codes; the tokens of the groups that are whole now.

        Raises:
            Unprocessable: a code is outside its codebook.
        """
        self._linguistic += _checked(linguistic, LINGUISTIC_SIZE, "linguistic")
        self._semantic += _checked(semantic, SEMANTIC_SIZE, "semantic")
        groups = Codes(tuple(self._linguistic), tuple(self._semantic)).groups
        tokens: list[int] = []
        for group in range(groups):
            first, second = group * LINGUISTIC_PER_GROUP, group * SEMANTIC_PER_GROUP
            tokens += self._linguistic[first : first + LINGUISTIC_PER_GROUP]
            tokens += (LINGUISTIC_SIZE + code for code in self._semantic[second : second + SEMANTIC_PER_GROUP])
        del self._linguistic[: groups * LINGUISTIC_PER_GROUP]
        del self._semantic[: groups * SEMANTIC_PER_GROUP]
        return tokens


def interleave(codes: Codes) -> list[int]:
    """The tokens, 0..5119, of all whole groups.

    Raises:
        Unprocessable: a code is outside its codebook.
    """
    return Interleaver().add(codes.linguistic, codes.semantic)


def separate(tokens: Sequence[int]) -> Codes:
    """The codes that were woven into these tokens.

    Raises:
        Unprocessable: they are not whole groups of two linguistic and three semantic tokens.
    """
    if len(tokens) % GROUP:
        raise Unprocessable(f"{len(tokens)} audio tokens are no whole groups of {GROUP}")
    linguistic: list[int] = []
    semantic: list[int] = []
    for place, token in enumerate(tokens):
        is_linguistic = place % GROUP < LINGUISTIC_PER_GROUP
        if not 0 <= token < TOKENS or is_linguistic != (token < LINGUISTIC_SIZE):
            kind = "linguistic, 0 to 1023" if is_linguistic else "semantic, 1024 to 5119"
            raise Unprocessable(f"audio token {place} is {token}, but must be {kind}")
        (linguistic if is_linguistic else semantic).append(token if is_linguistic else token - LINGUISTIC_SIZE)
    return Codes(tuple(linguistic), tuple(semantic))


def to_ids(tokens: Iterable[int]) -> list[int]:
    """Tokens as a language model counts them: 65536..70655.

    Raises:
        Unprocessable: one is no token.
    """
    return [FIRST_ID + token for token in _checked(tokens, TOKENS, "audio token")]


def from_ids(ids: Iterable[int]) -> list[int]:
    """The audio tokens among a language model's ids; whatever else it wrote is passed over."""
    return [number - FIRST_ID for number in ids if FIRST_ID <= number < VOCABULARY_MIN]


def to_text(tokens: Iterable[int]) -> str:
    """Tokens as text: `<audio_12><audio_845>...`.

    Raises:
        Unprocessable: one is no token.
    """
    return "".join(f"<audio_{token}>" for token in _checked(tokens, TOKENS, "audio token"))


def from_text(text: str) -> list[int]:
    """The tokens that are written in a text; whatever is between them is passed over.

    Raises:
        Unprocessable: a number is beyond the last token.
    """
    return _checked((int(number) for number in _TOKEN.findall(text)), TOKENS, "audio token")


def without_tokens(text: str) -> str:
    """The text without the tokens that are written in it."""
    return _TOKEN.sub("", text)


def _checked(codes: Iterable[int], size: int, kind: str) -> list[int]:
    found = [int(code) for code in codes]
    for code in found:
        if not 0 <= code < size:
            raise Unprocessable(f"{kind} {code} is outside 0 to {size - 1}")
    return found
