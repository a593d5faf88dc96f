"""What is done to recognised text: hallucinations dropped, Chinese simplified, captions agreed on, long sound cut."""

from __future__ import annotations

import numpy as np
import pytest

from asr.hallucinations import Evidence, is_quiet, repeats, why_doubted
from asr.pieces import pieces, quietest
from asr.simplified import simplified

SURE = Evidence(no_speech=0.02, logprob=-0.2)


@pytest.mark.parametrize(
    "text",
    [
        "Thanks for watching!", "Thank you so much for watching this video.", "Subtitles by the Amara.org community",
        "字幕由Amara.org社区提供", "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", "谢谢观看", "感谢大家的收看。",
        "Don't forget to like and subscribe!", "www.mooji.org", "[Music]", "(applause)", "♪♪♪", "...", "", "。",
    ],
)  # fmt: skip
def test_what_subtitles_end_with_is_dropped_however_sure_it_is(text: str) -> None:
    assert why_doubted(text, SURE)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.", "好", "嗯", "Thank you.", "谢谢", "no no no no", "Okay, thanks.", "哈哈哈哈哈", "Bye bye.",
        "Who makes the subtitles of this film, is it the Amara.org community or the museum?",
        "我想看看这个视频的字幕是谁翻译的，你知道吗？", "I watched it again and again and again.", "www is hard to say",
        "One hundred and twenty thousand seven hundred and seventy seven.", "对对对，对对对，我就是这个意思。",
        "很好很好很好", "Go, go, go, go, go!", "五五五五，一二三四五五五五",
    ],
)  # fmt: skip
def test_what_people_say_is_kept(text: str) -> None:
    assert why_doubted(text, SURE) is None
    assert why_doubted(text) is None, "an engine that tells nothing is believed"


@pytest.mark.parametrize(
    ("no_speech", "logprob", "kept"),
    [
        (0.05, -0.2, True),
        (0.64, -0.9, True),  # speech in noise
        (0.9, -0.6, False),  # silence
        (0.61, -1.6, False),  # loud noise
        (0.02, -1.2, True),  # one syllable
        (0.02, -1.9, False),
    ],
)
def test_a_text_is_believed_as_far_as_there_was_speech(no_speech: float, logprob: float, kept: bool) -> None:
    assert (why_doubted("I was here yesterday.", Evidence(no_speech, logprob)) is None) is kept


def test_common_sentences_need_more_than_others() -> None:
    assert why_doubted("Thank you.", Evidence(0.35, -0.6))
    assert why_doubted("Thank you for the ticket.", Evidence(0.35, -0.6)) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm going to go to the " * 6,
        "我们我们我们我们我们我们我们我们我们我们我们我们我们",
        "The end of the world, the end of the world, the end of the world.",
        "啊" * 20,
    ],
)
def test_a_text_that_runs_in_a_circle_is_known(text: str) -> None:
    assert repeats(text) and why_doubted(text, SURE)


def test_a_muted_microphone_is_quiet_and_a_whisper_is_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(16_000).astype(np.float32)
    assert is_quiet(np.zeros(0, np.float32)) and is_quiet(np.zeros(16_000, np.float32))
    assert is_quiet(noise * 10 ** (-70 / 20)) and not is_quiet(noise * 10 ** (-60 / 20))
    word = np.zeros(160_000, np.float32)
    word[80_100:81_000] = 0.01
    assert not is_quiet(word), "one word in ten seconds"


def test_chinese_becomes_simplified_and_nothing_else_changes() -> None:
    assert (
        simplified("這個房間裡哪一幅畫最有名？非常感謝！臺灣的後面") == "这个房间里哪一幅画最有名？非常感谢！台湾的后面"
    )
    plain = "我想买两张下午的门票。What time is it? 42"
    assert simplified(plain) == plain


def test_long_sound_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    rng = np.random.default_rng(1)
    pcm = rng.standard_normal(70 * 16_000).astype(np.float32)
    pauses = [int(s * 16_000) for s in (22.0, 45.5)]
    for at in pauses:
        pcm[at : at + 4_800] *= 0.01
    cut = list(pieces(pcm, 28.0))
    assert np.array_equal(np.concatenate(cut), pcm) and max(p.size for p in cut) <= 28 * 16_000
    assert all(any(at <= place <= at + 4_800 for at in pauses) for place in np.cumsum([p.size for p in cut])[:-1])
    assert [p.size for p in pieces(pcm[:16_000], 28.0)] == [16_000]
    assert quietest(pcm, 0, 100) == 100
