"""What the words of an utterance are worth while she speaks: "mm-hm" is no question."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*")

_EN = """
mm mmm mhm hm hmm mm-hm mm-hmm mhmm uh-huh uhuh uh um ah oh aha huh yeah yep yes yup right ok okay sure wow nice good
great fine really exactly cool alright i see
"""
LISTENING_EN = frozenset(_EN.split())
LISTENING_ZH = frozenset("嗯 唔 哦 噢 喔 啊 呃 额 哎 诶 哈 呵 好 的 对 是 行 嘿 呀 啦 吧 了 这样 原来".replace(" ", ""))
"""What people say to show that they listen (backchannels), by words and by characters. "No", "stop", "wait" and their
Chinese fellows are not among them: they are said to be heard."""
_URGENT = """
stop wait no hey enough quiet what why who when where how please sorry excuse hold 停 等 不 别 够 喂 什 谁
"""
URGENT = frozenset(_URGENT.split())
"""What is said over somebody to be heard, by words and by characters: one such is enough."""
SHORT_WORDS = 2
"""Words or characters, up to which a recogniser that is not sure may have made them of a murmur: whisper-base writes
"Memo", "Men" or 认识 for "mm-hm", with a confidence of 0.27 to 0.69."""
WORDS_MAX = 4  # "yeah yeah okay right"; more than that is a sentence


def words(text: str) -> list[str]:
    """Words of alphabetic text and characters of Chinese, lower case; punctuation is none."""
    return [word.lower() for word in _WORDS.findall(text)]


def word_count(text: str) -> int:
    """How many words or characters."""
    return len(words(text))


def only_listening(text: str) -> bool:
    """Whether it only says "I am listening"."""
    found = words(text)
    return 0 < len(found) <= WORDS_MAX and all(
        all(letter in LISTENING_ZH for letter in word) if word >= "\u3400" else word in LISTENING_EN for word in found
    )


def may_be_noise(text: str) -> bool:
    """Whether it is so short that a recogniser may have made it of no word, and does not ask to be heard."""
    found = words(text)
    letters = {letter for word in found if word >= "\u3400" for letter in word}
    return len(found) <= SHORT_WORDS and URGENT.isdisjoint(found) and URGENT.isdisjoint(letters)
