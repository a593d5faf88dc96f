"""What a model writes becomes what a person says, however the network cuts it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.spoken import HELD_MAX, SpokenText, speakable, spoken

PARTS = [
    "hello ", "Hello, ", "world. ", "你好", "，", "。", "！", "\n", "\n\n", " ", "3.14", "5", "x", "# ",
    "## 标题", "- ", "* ", "1. ", "2) ", "**", "*", "_", "__", "~~", "~", "`", "``", "```",
    "```python\n", "~~~\n", "|", " | ", "|---|:-:|\n", "---\n", "[", "]", "](", "](http://a.b/c)",
    ")", "(", "![alt](x.png)", "[1]", "[^note]", "<b>", "</b>", "<br>", "<", ">", "> ",
    "https://example.com/a-b?c=d", "http://", "www.a.com", "bob@a-b.com", "@", "main.py", "😀", "👍🏽",
    "1️⃣", "👨\u200d👩\u200d👧", "\u200d", "$", "$$", "\\frac{1}{2}", "\\times", "\\(", "\\]", "\\",
    "^2", "^{n}", "{", "}", "&amp;", "&", "&#12", "=", "==", "=>", "->", "--", "-", "+", "C++",
    "C#", "#1", "<think>", "€", "→", "≤", "×", "\r", "\t", "\u0007", "!", "!=", "?", "'", "\"", "“",
    "”",
]  # fmt: skip
TEXT = st.lists(st.one_of(st.sampled_from(PARTS), st.characters(codec="utf-8")), max_size=40).map("".join)
MARKUP = re.compile(r"[`*_|\\{}\[\]<>^~=@#•]|://|\ufe0f|\$(?!\d)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Our hours\nWe open at **9:30**.", "Our hours.\nWe open at 9:30."),
        ("## 营业时间\n我们*九点*开门。", "营业时间。\n我们九点开门。"),
        ("You need:\n- eggs\n- flour\n", "You need:\neggs;\nflour;\n"),
        ("- [x] **Done**: it works.\n* [ ] Open", "Done: it works.\nOpen"),
        ("1. Mix\n2) Bake", "1. Mix;\n2. Bake"),
        ("> quoted\n> more", "quoted\nmore"),
        ("a\n\n---\n\nb", "a\n\nb"),
        ("| Name | Age |\n|:---|---|\n| Bob | 5 |\n", "Name, Age;\nBob, 5;\n"),
        ("| 名字 | 年龄 |\n|---|---|\n| 小明 | 5 |", "名字，年龄；\n小明，5"),
        ("See [the guide](https://a.b/c_(d) \"T\") now.", "See the guide now."),
        ("![A cat](cat.png) sits.", "A cat sits."),
        ("It is so [1][2], see [3](http://x.y).", "It is so , see 3."),
        ("[note](see above for details)", "note(see above for details)"),
        ("Go to https://www.example.com/docs/start?x=1.", "Go to example dot com slash docs slash start."),
        ("请看https://example.com/a，谢谢。", "请看example点com斜杠a，谢谢。"),
        ("https://example.com/" + "long-path/" * 80 + " ok", "example dot com ok"),
        ("At <http://127.0.0.1:8010/>.", "At 127 dot 0 dot 0 dot 1, port 8010."),
        ("Mail bob.smith@my-site.org!", "Mail bob dot smith at my dash site dot org!"),
        ("发邮件到 a@b.cn。", "发邮件到 a艾特b点cn。"),
        ("Try example.com or main.py in C++ or C#.", "Try example dot com or main dot py in C plus plus or C sharp."),
        ("Run `pip install foo_bar` first.", "Run pip install foo bar first."),
        ("So:\n```python\nprint('x' * 3)\n```\nDone.", "So:\nYou can read the code in the text.\nDone."),
        ("如下：\n```\nx = 1\n```", "如下：\n代码请看文字。"),
        ("~~~~\na ~~~ b\n~~~~\nEnd.", "You can read the code in the text.\nEnd."),
        ("Never closed ```js\nlet x", "Never closed You can read the code in the text."),
        ("Great 😀👍🏽!", "Great !"),
        ("$\\frac{a}{b} \\leq x^2$", "a over b is at most x squared"),
        ("答案是$\\frac{1}{2}$，即 3×4=12。", "答案是2分之1，即 3乘以4等于12。"),
        ("2^{10} and 90^\\circ and $5", "2 to the power of 10 and 90 degrees and $5"),
        ("5 - 3 = 2, -5°C, 3-5, 3–5, ~7", "5 minus 3 equals 2, minus 5°C, 3-5, 3 to 5, about 7"),
        ("大概3~5个，~7个", "大概3到5个，约7个"),
        ("x < 5 & y >= 3 != 4 -> z", "x is less than 5 and y is at least 3 is not equal to 4 to z"),
        ("AT&amp;T <i>rocks</i><br>yes", "AT and T rocks\nyes"),
        ("Hello -- there - you|me", "Hello — there — you, me"),
        ("snake_case and __init__ 3 * 4", "snake case and init 3 times 4"),
        ("call foo() #1 #tag", "call foo number 1 tag"),
        ("I don't know... it's 1,000.50, Dr. Smith!", "I don't know... it's 1,000.50, Dr. Smith!"),
        ("他说：“好的……”然后走了～", "他说：“好的……”然后走了"),
        ("😀🎉", ""),
        ("At 55 m.p.h. on it<|im_end|>", "At 55 m.p.h. on it"),
        ("请在www.example.cn下载。", "请在example点cn下载。"),
        ("温度-5℃～10℃，3月-5月，第2章~4章", "温度负5℃到10℃，3月到5月，第2章到4章"),
    ],
)  # fmt: skip
def test_said(text: str, said: str) -> None:
    assert spoken(text) == said


@given(TEXT, st.lists(st.integers(0, 200), max_size=12))
def test_fed_in_pieces_is_fed_whole(text: str, at: list[int]) -> None:
    speaker = SpokenText()
    ends = [0, *sorted(at), len(text)]
    out = "".join(speaker.feed(text[a:b]) for a, b in zip(ends, ends[1:], strict=False))
    assert out + speaker.flush() == spoken(text)


@given(TEXT)
def test_character_by_character_is_fed_whole(text: str) -> None:
    speaker = SpokenText()
    assert "".join(map(speaker.feed, text)) + speaker.flush() == spoken(text)


@given(TEXT)
def test_no_markup_and_nothing_unspeakable_comes_out(text: str) -> None:
    said = spoken(text)
    assert not MARKUP.search(said), said
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "So") for c in said.replace("\n", " "))\
        or set(said) & set("°℃℉")  # fmt: skip


@given(st.text(alphabet="pqr 你好,.，。!?\n", max_size=60))
def test_plain_text_loses_no_letter(text: str) -> None:
    assert "".join(spoken(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "begin", ["[a](", "https://a.b/", "<b", "```", "\\frac{", "*" * 10, "-" * 10, "a" * 10, "&", "#"]
)
def test_what_is_held_back_is_bounded(begin: str) -> None:
    speaker = SpokenText()
    speaker.feed(begin + "x" * 5_000)
    assert len(speaker._raw) <= HELD_MAX


def test_words_come_as_soon_as_they_are_known() -> None:
    speaker = SpokenText("zh")
    assert speaker.feed("今天") == "今天"
    assert speaker.feed("天气不错，") == "天气不错，"
    assert speaker.feed("Hello") == ""
    assert speaker.feed(" there,") == "Hello there,"


async def test_a_stream_is_made_speakable_and_thoughts_are_left_out() -> None:
    closed = False

    async def texts() -> AsyncGenerator[str, None]:
        nonlocal closed
        try:
            for text in ("<thi", "nk>**hm**</think>He", "llo *y", "ou* 👍", "!"):
                yield text
        finally:
            closed = True

    assert "".join([text async for text in speakable(texts())]) == "Hello you !"
    assert closed
