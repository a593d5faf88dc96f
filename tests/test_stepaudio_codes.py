"""Step-Audio's tokens: what is woven together comes apart again, in ids, in text and in portions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import Unprocessable
from stepaudio import codes
from stepaudio.codes import Codes, Interleaver, interleave, separate

LINGUISTIC = st.lists(st.integers(0, 1023), max_size=40)
SEMANTIC = st.lists(st.integers(0, 4095), max_size=60)
TOKENS = st.lists(st.integers(0, codes.TOKENS - 1), max_size=60)


@given(LINGUISTIC, SEMANTIC)
def test_codes_survive_in_whole_groups(linguistic: list[int], semantic: list[int]) -> None:
    given_ = Codes(tuple(linguistic), tuple(semantic))
    tokens = interleave(given_)
    whole = given_.groups
    assert len(tokens) == 5 * whole and whole == min(len(linguistic) // 2, len(semantic) // 3)
    assert separate(tokens) == Codes(tuple(linguistic[: 2 * whole]), tuple(semantic[: 3 * whole]))


@given(TOKENS, st.text(alphabet="<audio_>你好 7", max_size=12))
def test_ids_and_text_are_the_same_tokens(tokens: list[int], between: str) -> None:
    assert codes.from_ids(codes.to_ids(tokens)) == tokens
    assert codes.from_text(codes.to_text(tokens)) == tokens
    assert codes.from_ids([1, 4, *codes.to_ids(tokens), 3, codes.VOCABULARY_MIN]) == tokens
    assert codes.without_tokens(f"你{codes.to_text(tokens)}好") == "你好"


@given(LINGUISTIC, SEMANTIC, st.randoms(use_true_random=False))
def test_any_portions_give_the_same_tokens(linguistic: list[int], semantic: list[int], random: object) -> None:
    whole = interleave(Codes(tuple(linguistic), tuple(semantic)))
    interleaver, found = Interleaver(), list[int]()
    left, right = list(linguistic), list(semantic)
    while left or right:
        a, b = random.randint(0, 5), random.randint(0, 5)  # type: ignore[attr-defined]
        found += interleaver.add(left[:a], right[:b])
        del left[:a], right[:b]
    assert found == whole


def test_the_numbers_are_the_published_ones() -> None:
    tokens = interleave(Codes((0, 1023), (0, 1, 4095)))
    assert codes.to_text(tokens) == "<audio_0><audio_1023><audio_1024><audio_1025><audio_5119>"
    assert codes.to_ids(tokens) == [65_536, 66_559, 66_560, 66_561, 70_655]
    assert codes.VOCABULARY_MIN == 70_656 and abs(codes.TOKENS_PER_S - 41.667) < 1e-3


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([1, 2, 3], "3 audio tokens"),
        ([1, 2, 3, 1024, 1025], "audio token 2 is 3"),
        ([1024, 0, 1024, 1024, 1024], "0 is 1024"),
    ],
)
def test_what_is_no_interleave_is_refused_by_its_place(tokens: list[int], words: str) -> None:
    with pytest.raises(Unprocessable, match=words):
        separate(tokens)


def test_what_is_outside_a_codebook_is_refused() -> None:
    with pytest.raises(Unprocessable, match="linguistic 1024 is outside 0 to 1023"):
        interleave(Codes((1024,), ()))
    with pytest.raises(Unprocessable, match="semantic -1"):
        interleave(Codes((), (-1,)))
    with pytest.raises(Unprocessable, match="audio token 5120 is outside 0 to 5119"):
        codes.from_text("<audio_5120>")
