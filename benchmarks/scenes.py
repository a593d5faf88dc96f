"""What the sessions are made to say."""

from __future__ import annotations

import io
import random
import subprocess
import wave

import numpy as np

SPEECH_RATE_HZ = 16_000
ESPEAK_RATE_HZ = 22_050
ONSET = 0.02  # of full scale: where speech begins

LONG_TEXT = (
    "This is a long passage that is read so that there is enough speech to measure. Every sentence adds a few seconds "
    "of sound and of mouth movement. Please keep talking at a normal pace until you are told to stop. The quick brown "
    "fox jumps over the lazy dog, while seven wizards quietly bake pumpkin bread at midnight. "
)

_ENGLISH = (
    ["The", "Our", "My", "Your"],
    ["young", "old", "kind", "busy", "quiet", "clever"],
    ["teacher", "doctor", "captain", "gardener", "painter", "driver"],
    ["will", "can", "should", "must"],
    ["show", "offer", "bring", "promise", "send"],
    ["seven", "twenty", "eleven", "forty", "ninety"],
    ["visitors", "children", "neighbours", "students", "travellers"],
    ["a", "the", "another"],
    ["wooden", "yellow", "heavy", "little", "modern"],
    ["boat", "basket", "window", "engine", "letter"],
)
_CHINESE = (
    ["老师", "医生", "朋友", "同学", "经理", "司机"],
    ["今天", "明天", "后天", "上午", "下午"],
    ["想带", "会请", "要陪"],
    ["我们", "孩子", "客人", "大家"],
    ["参观", "打扫", "寻找", "画出"],
    ["花园", "学校", "车站", "公园", "海边", "市场"],
)


def english_words() -> str:
    """A sentence of 10 words that has hardly ever been said (1 of 27 million)."""
    return " ".join(random.choice(words) for words in _ENGLISH) + "."


def chinese_characters() -> str:
    """A sentence of 12 characters, chosen among 8640."""
    return "".join(random.choice(words) for words in _CHINESE) + "。"


def recording(text: str = "Are all our apples on Adam's open oven, or under it?") -> bytes:
    """A WAV file (16 kHz mono) that starts with an open vowel at its first sample.

    Lips part for it at once, so that the delay between sound and motion is the server's and not the sentence's.
    """
    command = ["espeak-ng", "-v", "en-us", "-s", "150", "--stdout", text]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    samples = np.frombuffer(said[44 : len(said) - len(said) % 2], np.int16).astype(np.float64) / 32768
    count = len(samples) * SPEECH_RATE_HZ // ESPEAK_RATE_HZ
    pcm = np.interp(np.arange(count) * ESPEAK_RATE_HZ / SPEECH_RATE_HZ, np.arange(len(samples)), samples)
    start = int(np.argmax(np.abs(pcm) > ONSET))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SPEECH_RATE_HZ)
        out.writeframes((pcm[start:] * 32767).astype("<i2").tobytes())
    return file.getvalue()
