"""Why a recording is not taken, each with a sentence in both languages that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from errors import Unprocessable

SENTENCES: Mapping[str, tuple[str, str]] = {
    "empty": ("the file is empty: record or choose another one", "文件为空：请重新录制或选择其他文件"),
    "not_audio": (
        "the file is no recording that can be read: send WAV, MP3, M4A, OGG, FLAC or WebM",
        "无法识别为录音：请上传 WAV、MP3、M4A、OGG、FLAC 或 WebM",
    ),
    "broken": ("the file is damaged or cut off: record or export it again", "文件已损坏或不完整：请重新录制或导出"),
    "too_short": (
        "there are {seconds:.1f} s of speech: at least {limit:.0f} s are needed, so read on for longer",
        "语音只有 {seconds:.1f} 秒，至少需要 {limit:.0f} 秒：请多读一些",
    ),
    "too_long": (
        "there are {seconds:.1f} s of speech: at most {limit:.0f} s are taken, so cut it or record a shorter one",
        "语音有 {seconds:.1f} 秒，最多 {limit:.0f} 秒：请剪短或重新录制",
    ),
    "no_speech": (
        "nobody is heard to speak: check the microphone, or choose a recording of a person speaking",
        "没有听到人声：请检查麦克风，或选择有人说话的录音",
    ),
    "not_mostly_speech": (
        "only {percent:.0f} % of it is speech (at least {limit:.0f} % is needed), the rest is pauses, music or noise: "
        "record one person speaking without a break, and nothing else",
        "其中只有 {percent:.0f}% 是人声（至少需要 {limit:.0f}%），其余为停顿、音乐或噪声：请只录一个人连续说话",
    ),
    "too_quiet": (
        "it is too quiet ({loudness:.0f} LUFS): speak closer to the microphone",
        "音量太小（{loudness:.0f} LUFS）：请靠近麦克风",
    ),
    "clipped": (
        "it is overdriven ({percent:.1f} % of it is cut off at full scale): turn the microphone down",
        "声音过载（{percent:.1f}% 被削顶）：请调低麦克风音量",
    ),
    "noisy": (
        "the speech stands only {snr:.0f} dB over the noise ({limit:.0f} dB are needed): record in a quieter place",
        "人声仅高出噪声 {snr:.0f} dB（至少 {limit:.0f} dB）：请在更安静的地方录制",
    ),
    "two_speakers": (
        "more than one person seems to speak: record one person alone",
        "似乎不止一个人在说话：请只录一个人",
    ),
}


class Refused(Unprocessable):
    """A recording that cannot become a voice.

    Args:
        code: of SENTENCES.
        facts: what the sentence tells.
    """

    def __init__(self, code: str, **facts: Any) -> None:
        en, zh = SENTENCES[code]
        super().__init__(en.format(**facts))
        self.code = code
        self.zh = zh.format(**facts)
        self.facts = facts
        self.details = {name: round(value, 3) for name, value in facts.items()}
