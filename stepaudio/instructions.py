"""How Step-Audio's speaking model is told to speak: tags before a text, and the system texts.

Tags stand in round brackets before the text, `(高兴1)(四川话)你好`. `RAP` and `哼唱` (humming) are sung: with their own
prompt, their own system text and the vocoder for music.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from errors import NotFound, Unprocessable

EMOTIONS = ("高兴1", "高兴2", "生气1", "生气2", "悲伤1", "撒娇1")
LANGUAGES = ("中文", "英文", "韩语", "日语", "四川话", "粤语", "广东话")
MUSIC = ("RAP", "哼唱")
PACES = ("慢速1", "慢速2", "快速1", "快速2")
SYNONYMS = {
    "happy": "高兴1", "very happy": "高兴2", "angry": "生气1", "very angry": "生气2", "sad": "悲伤1",
    "coquettish": "撒娇1", "chinese": "中文", "english": "英文", "korean": "韩语", "japanese": "日语",
    "sichuanese": "四川话", "cantonese": "粤语", "rap": "RAP", "humming": "哼唱", "hum": "哼唱", "slow": "慢速1",
    "very slow": "慢速2", "fast": "快速1", "very fast": "快速2",
}  # fmt: skip
"""What people write -> tag."""
_LEADING = re.compile(r"\s*[（(]\s*([^()（）]{1,40}?)\s*[）)]")


@dataclasses.dataclass(frozen=True, slots=True)
class Instructed:
    """A text and how it is to be said."""

    tags: tuple[str, ...]
    text: str
    """Without them."""

    @property
    def music(self) -> str:
        """`RAP` or `哼唱`, whichever of them is among the tags; empty where it is spoken."""
        return next((tag for tag in self.tags if tag in MUSIC), "")

    def written(self) -> str:
        """As the model is told: a sung text has its tag first."""
        first = [tag for tag in self.tags if tag in MUSIC]
        rest = [tag for tag in self.tags if tag not in MUSIC]
        return "".join(f"({tag})" for tag in (*first, *rest)) + self.text


def read_tags(text: str) -> Instructed:
    """The tags that a text begins with, in brackets of either width; English names become tags.

    Tags that are unknown stay: the model was taught others too.
    """
    tags, at = [], 0
    while found := _LEADING.match(text, at):
        tags.append(SYNONYMS.get(found[1].lower(), found[1]))
        at = found.end()
    return Instructed(tuple(tags), text[at:].strip() if tags else text)


@dataclasses.dataclass(frozen=True, slots=True)
class SystemTexts:
    """What the model is told before anything else."""

    with_speaker: str
    """Has `{}` where the speaker's name goes."""
    without_speaker: str
    rap: str
    humming: str
    published: bool = False
    """Whether this is the publishers' wording."""

    def of(self, instructed: Instructed, speaker: str) -> str:
        """The one for a text in somebody's voice; an empty name stands for a recording."""
        if instructed.music:
            return self.rap if instructed.music == "RAP" else self.humming
        return self.with_speaker.replace("{}", speaker) if speaker else self.without_speaker


def _listed(heading: str, tags: tuple[str, ...]) -> str:
    return f"{heading}：" + "、".join(f'"{tag}"' for tag in tags) + "。"


_TAGS = "".join(
    _listed(heading, tags)
    for heading, tags in (("情感", EMOTIONS), ("语种或方言", LANGUAGES), ("音乐", MUSIC), ("语速", PACES))
)
_TASK = "你是一位优秀的声优。文本开头的（）或()内是朗读要求，可用的标签有：" + _TAGS
OWN = SystemTexts(
    with_speaker=_TASK + "请使用[{}]的声音，按标签的要求自然地朗读；没有标签时，根据文意自由演绎。",
    without_speaker=_TASK + "请按标签的要求自然地朗读；没有标签时，根据文意自由演绎。",
    rap="请参考对话历史里的音色，用RAP方式将文本内容大声说唱出来。",
    humming="请参考对话历史里的音色，用哼唱的方式将文本内容大声唱出来。",
)
"""Of the same meaning and with the same tags as the publishers', for who has not their `tts.py`."""
_NAMES = {
    "with_speaker": "sys_prompt_with_spk", "without_speaker": "sys_prompt_wo_spk", "rap": "sys_prompt_for_rap",
    "humming": "sys_prompt_for_vocal",
}  # fmt: skip


def read_system_texts(path: Path) -> SystemTexts:
    """The publishers' own wording, out of the `tts.py` of their repository, of which nothing is run.

    Raises:
        NotFound: the file is not there.
        Unprocessable: it holds no such texts.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise Unprocessable(f"{path} is no Python file: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and (texts := _texts(node)):
            return SystemTexts(**{ours: texts[theirs] for ours, theirs in _NAMES.items()}, published=True)
    raise Unprocessable(f"{path} has no dictionary with {', '.join(_NAMES.values())}")


def _texts(node: ast.Dict) -> dict[str, str] | None:
    """A dictionary that is written out in full, where it has all the names."""
    pairs = {
        key.value: value.value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
    }
    found = {name: str(pairs[name]) for name in _NAMES.values() if name in pairs}
    return found if len(found) == len(_NAMES) else None
