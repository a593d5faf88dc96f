"""What a recogniser writes when nobody spoke, and why it is not believed.

Whisper was trained on subtitles: given noise it writes what subtitles end with, or the commonest sentences it knows.
Figures are of whisper-base, int8: 24 English and 32 Chinese sentences, clean and in white noise down to 0 dB, 16 words
of half a second, and 20 sounds without speech (silence, white and pink noise, hum, tones, chords, a melody, clicks,
coughs, clipped or not, 1 and 5 s long). `python -m benchmarks.recognition` repeats them.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
import zlib

import numpy as np

from media import SAMPLE_RATE_HZ, Pcm

NO_SPEECH_MAX = 0.75
"""Nobody spoke, whatever the text: speech has at most 0.12 clean and 0.64 in noise as loud as a third of it; silence,
hum and quiet noise have 0.75 to 0.97."""
NO_SPEECH_DOUBT = 0.45
LOGPROB_DOUBT = -1.2
"""Together: loud noise, music, clicks and coughs have 0.53 to 0.74 and -2.4 to -1.48; speech is above one of them."""
LOGPROB_MIN = -1.5
"""A guess, even where it sounds like speech. Single Chinese syllables, which are rarely understood, have -1.2."""
COMMON_NO_SPEECH = 0.3
"""For COMMON sentences, which people say too: then they have at most 0.08."""
COMPRESSION_MAX = 2.4
"""Of its UTF-8 by zlib: OpenAI's value. Only a text that repeats itself shrinks so far."""
REPEATS_MAX = 4
"""The same words so often, one behind the other: `no no no` is said, `I'm going to I'm going to ...` is not."""
REPEATED_CHARACTERS_MAX = 24
"""Of one repeated phrase, three times over: a phrase of eight characters is not said three times by anybody."""
QUIET_DBFS = -66.0
"""The loudest 20 ms are softer: a muted microphone. Whispering is above -60."""

CREDITS = re.compile(
    r"amara\s*\.?\s*org|subtitles? (?:by|created|provided)|subtitling by|captions? by|transcri(?:bed|ption) by"
    r"|translated by|(?:thanks?|thank you)(?: (?:so|very) much)? for (?:watching|listening|viewing)(?: this video)?\b"
    r"|(?:like|comment),? (?:and )?subscribe|subscribe (?:to|for) (?:my|the|our|this|more)"
    r"|see you (?:in the|next) (?:next )?video"
    r"|www\.\S+|https?:\S+|©|copyright (?:©|20\d\d|wdr)"
    r"|字幕(?:由|by|组|組|制作|製作|志愿者|提供|校对|翻译)|(?:中文|简体|翻译|校对)字幕|请不吝|明镜(?:与|和)点点|点点栏目"
    r"|(?:点赞|订阅|转发|打赏)[,，、\s]*(?:点赞|订阅|转发|打赏|支持|关注)|(?:感谢|谢谢)(?:大家|您|你|各位)?(?:的)?(?:观看|收看|收听|观赏)"
    r"|(?:欢迎|记得|别忘了|请)(?:大家)?(?:订阅|点赞|关注我)|(?:本|这)(?:期|集)(?:视频|节目)(?:就)?到(?:这里|此)"
    r"|(?:词曲|作词|作曲|编曲|演唱|词|曲)\s*[:：]?\s*(?:李宗盛|邓紫棋|林俊杰)|优优独播剧场|中文字幕志愿者|索兰娅",
    re.IGNORECASE,
)
"""Credits and farewells of videos. Nobody says them to a presenter, so they are dropped however sure they are; a
sentence that only contains one is kept (`_is_mostly`)."""
COMMON = frozenset(
    {"you", "thank you", "thanks", "thank you very much", "bye", "bye bye", "okay", "ok", "oh", "oh yeah", "oh my god"}
    | {"yeah", "hello", "hi", "so", "hmm", "mm", "um", "uh", "the", "and", "what", "music", "applause", "laughter"}
    | {"i'm", "i'm sorry", "i don't know", "i don't know what to do", "silence", "blank_audio"}
    | {"谢谢", "谢谢大家", "嗯", "啊", "哦", "好", "好的", "拜拜", "再见", "音乐", "掌声"}
)
"""What whisper writes for noise most often, and people say as well."""
_MARKED = re.compile(r"^\s*(?:[\[(（【*♪][^\])）】*♪]*[\])）】*♪]\s*)+$|^[\s♪♫🎵.。,，!！?？…·\-]*$")
"""[Music], (applause), *sighs*, ♪, or no word at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What an engine says about a text; the defaults are those of one that says nothing."""

    no_speech: float = 0.0
    """0..1."""
    logprob: float = 0.0
    """Mean of the tokens' natural logarithms, at most 0."""


def is_quiet(pcm: Pcm) -> bool:
    """Whether no 20 ms are as loud as a whisper; then there is nothing to recognise."""
    step = SAMPLE_RATE_HZ // 50
    padded = np.pad(pcm, (0, -pcm.size % step)).reshape(-1, step)
    if not padded.size:
        return True
    loudest = float(np.square(padded, dtype=np.float64).mean(axis=1).max())
    return loudest < 10 ** (QUIET_DBFS / 10)


def why_doubted(text: str, evidence: Evidence | None = None) -> str | None:
    """Why a text is no transcript of speech; None when it may be one."""
    told = evidence or Evidence()
    if _MARKED.match(text):
        return "no words"
    if told.no_speech >= NO_SPEECH_MAX:
        return "nobody spoke"
    if told.no_speech >= NO_SPEECH_DOUBT and told.logprob <= LOGPROB_DOUBT:
        return "hardly speech"
    if told.logprob <= LOGPROB_MIN:
        return "a guess"
    if told.no_speech >= COMMON_NO_SPEECH and _plain(text) in COMMON:
        return "what is written for noise"
    if _is_mostly(text):
        return "credits of a video"
    return "repeats itself" if repeats(text) else None


def repeats(text: str) -> bool:
    """Whether the text runs in a circle, as a decoder does that has lost the sound."""
    data = text.encode()
    if len(data) > 60 and len(data) / len(zlib.compress(data)) > COMPRESSION_MAX:
        return True
    plain = _plain(text).replace(" ", "")
    for length in range(1, len(plain) // 3 + 1):
        needed = 3 if length * 3 >= REPEATED_CHARACTERS_MAX else REPEATS_MAX + (8 if length < 3 else 0)
        if length * needed <= len(plain) and _runs(plain, length) >= needed:
            return True
    return False


def _runs(text: str, length: int) -> int:
    """How often the same `length` characters stand one behind the other at most."""
    most = same = 0
    for at in range(length, len(text)):
        same = same + 1 if text[at] == text[at - length] else 0
        most = max(most, same)
    return most // length + 1


def _plain(text: str) -> str:
    """Lower case, words parted by one space, no marks but apostrophes."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return " ".join("".join(c if c.isalnum() or c in "'_" else " " for c in folded).split())


def _is_mostly(text: str) -> bool:
    """Whether credits make up most of a text: one may ask about subtitles."""
    found = sum(match.end() - match.start() for match in CREDITS.finditer(text))
    return found > 0 and 2 * found >= len(text.strip())
