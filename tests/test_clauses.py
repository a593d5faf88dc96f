from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.clauses import CJK_MAX_S, MAX_S, ClauseCutter, Pace, cut, ends_sentence, language_of, script_of, spoken_s

TEXT = st.lists(
    st.one_of(
        st.sampled_from(list("  \n..,;:!?。！？，、；：…—\"”)(<>[]*#-'1234567890%$的了我你好")),
        st.characters(codec="utf-8"),
        st.sampled_from(["Dr. ", "e.g. ", "https://a.b/c?d=e.f ", "3.14", "1,000", "<b>", "[x](http://y)", "hello "]),
    ),
    max_size=80,
).map("".join)


def speakable(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("你好，欢迎来到我们这里。", ["你好，欢迎来到我们这里。"]),
        (
            "今天天气不错，我们一起去公园散步吧，好不好？",
            ["今天天气不错，", "我们一起去公园散步吧，好不好？"],
        ),
        ("Yes. I will.", ["Yes. I will."]),
        ("Hello there, friend. Come in!", ["Hello there, friend.", "Come in!"]),
        ("It costs 3.14 dollars now. Fine.", ["It costs 3.14 dollars now.", "Fine."]),
        ("About 1,000 people, 2,500 dogs came.", ["About 1,000 people,", "2,500 dogs came."]),
        ("价格是1，000元。", ["价格是1，000元。"]),
        ("Dr. Smith met J. R. Jones. They talked.", ["Dr. Smith met J. R. Jones.", "They talked."]),
        ("Come at 3 p.m. on Jan. 5 please.", ["Come at 3 p.m. on Jan. 5 please."]),
        ("He left at 3 p.m. Then it rained.", ["He left at 3 p.m.", "Then it rained."]),
        ("See https://a.b/c?d=e.f for more.", ["See https://a.b/c?d=e.f for more."]),
        ('She said "Go away!" and left.', ['She said "Go away!"', "and left."]),
        ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
        ("a wrapped line goes\non here", ["a wrapped line goes on here"]),
        ("Hello there. 你好吗？", ["Hello there.", "你好吗？"]),
        ("**Bold** and <i>italic</i>, see [the page](http://x.y).", ["Bold and italic,", "see the page."]),
        ("你好👍🏽，\x00世\x07界", ["你好，世界"]),
    ],
)
def test_cut(text: str, clauses: list[str]) -> None:
    assert cut(text) == clauses


@pytest.mark.parametrize("text", ["", "   \n", "😀🎉👨‍👩‍👧", "\x00\x07\x1b", "...!?,", "<speak></speak>", "***", "️⃣"])
def test_nothing_speakable_gives_no_clause(text: str) -> None:
    assert cut(text) == []


@given(TEXT)
def test_all_that_can_be_spoken_is_spoken_in_order(text: str) -> None:
    plain = text.replace("<", " ").replace("]", " ")
    assert speakable("".join(cut(plain))) == speakable(plain)


@given(TEXT, st.lists(st.integers(0, 60), max_size=12))
def test_fed_in_pieces_is_fed_whole(text: str, at: list[int]) -> None:
    cutter = ClauseCutter()
    ends = [0, *sorted(at), len(text)]
    pieces = [text[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    clauses = [clause for piece in pieces for clause in cutter.feed(piece)]
    assert clauses + cutter.flush() == cut(text)


@given(TEXT)
def test_clauses_are_clean_and_short(text: str) -> None:
    for clause in cut(text * 5):
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") for c in clause)
        assert clause == clause.strip() and speakable(clause)
        assert spoken_s(clause) <= MAX_S + 1


def test_long_clauses_are_split_where_it_is_natural() -> None:
    chinese = cut("我们昨天一起去了那个很远的山上的老房子里面看了一整天的雪然后大家又一起走了很久的路才回到家")
    assert all(spoken_s(clause) <= CJK_MAX_S + 0.3 for clause in chinese)
    assert chinese[0].endswith(("的", "了"))
    english = cut("word " * 100)
    assert all(clause.endswith("word") for clause in english)
    assert max(len(clause.split()) for clause in english) <= 60


def test_a_clause_comes_as_soon_as_it_can_be_spoken() -> None:
    cutter = ClauseCutter()
    assert cutter.feed("今天天气不错") == []
    assert cutter.feed("，") == ["今天天气不错，"]
    assert cutter.feed("我们") == []
    assert cutter.flush() == ["我们"]
    assert cutter.feed("Hello my friends.") == []
    assert cutter.feed(" ") == ["Hello my friends."]


@pytest.mark.parametrize(
    ("clause", "language"),
    [
        ("我喜欢 Python 编程", "zh"),
        ("Hello world", "en"),
        ("これはペンです", "ja"),
        ("東京の天気はいいですね", "ja"),
        ("鲜の每日新鲜蔬菜水果", "zh"),
        ("안녕하세요", "ko"),
        ("Привет", "ru"),
        ("مرحبا", "ar"),
        ("สวัสดี", "th"),
        ("ＡＢＣ", "en"),
        ("2026", "xx"),
    ],
)
def test_language(clause: str, language: str) -> None:
    assert language_of(clause, "xx") == language


def test_sentence_ends() -> None:
    assert ends_sentence("好。") and ends_sentence('He said "Go!"')
    assert not ends_sentence("好，") and not ends_sentence("well")


def test_scripts() -> None:
    assert [script_of(c) for c in "我aあ가1½, "] == ["HAN", "LATIN", "KANA", "HANGUL", "DIGIT", "DIGIT", "", ""]


SENTENCES = [
    line
    for line in (Path(__file__).parent / "data/first_clauses.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
WHOLE = re.compile(
    r"https?://[!-~]*[\w/]|[\w.]+@[\w.]+\w|(?:www|ftp:)[!-~]*\w"  # addresses
    r"|\d(?:[\d.,:：/-]*\d)?|\.{3}|…+|(?:[A-Za-z]\.){2,}|Ph\.D\."
    r"|\b(?:Mrs?|Ms|Dr|Prof|Gen|Lt|Col|Capt|Sgt|Mt|No|Fig|Bldg|chap|pp|approx|i\.e|e\.g)\. ?\w+"
    r"|\b(?:Jan|Aug|Sept|Oct)\. \d+(?:, \d{4})?|(?<![\d.])\b\d\. ?[A-Z打选输]\w|[1-3]、\w|[。！？，][”’」]"
)
"""What must stay in one piece, told by patterns of its own, not by the cutter's."""


def test_there_are_two_hundred_sentences_in_both_languages() -> None:
    assert len(set(SENTENCES)) == 200
    assert [language_of(line) for line in SENTENCES].count("zh") == 100


@pytest.mark.parametrize("line", SENTENCES)
def test_first_clause_and_groups(line: str) -> None:
    text, pieces = line.replace("|", ""), [piece.strip() for piece in line.split("|")]
    cutter = ClauseCutter()
    assert [clause for character in text for clause in cutter.feed(character)] + cutter.flush() == pieces
    assert cut(text) == pieces
    for token in WHOLE.findall(text):
        assert sum(piece.count(token) for piece in pieces) == text.count(token), token
    assert max(map(len, pieces)) <= 100
    assert all(len(re.findall(r"[，；](?!$)|[,;] ", piece)) <= 2 for piece in pieces[1:])


def test_the_first_clause_does_not_wait_for_the_second() -> None:
    waited = []
    for line in SENTENCES:
        text, cutter = line.replace("|", ""), ClauseCutter()
        first = line.split("|")[0].strip()
        if "|" in line and first[-1].isalnum():
            continue  # cut between words, because no mark came
        end = text.index(first) + len(first)
        given = next((at for at in range(len(text)) if cutter.feed(text[at])), len(text))
        waited.append(given - end + 1)
    # One character behind an ASCII mark tells it from a decimal; a date or an abbreviation needs the next word.
    assert max(waited) <= 13 and sum(count <= 1 for count in waited) > 180


def test_the_pace_is_a_setting() -> None:
    text = "Good morning, how are you today, my friend, and how is she, the little one?"
    fast = ClauseCutter(Pace(first_words=2, first_characters=4, group_clauses=2))
    slow = ClauseCutter(Pace(first_words=8, first_characters=10, group_clauses=3))
    assert (fast.feed(text) + fast.flush())[0] == "Good morning,"
    assert (slow.feed(text) + slow.flush())[0] == "Good morning, how are you today, my friend,"


def test_an_address_is_cut_only_when_it_has_no_end() -> None:
    address = "https://example.com/" + "abcd" * 30
    assert any(address in clause for clause in cut(f"Now look at this page here {address} and read it."))
    assert max(map(len, cut("x" * 1000))) <= 201
