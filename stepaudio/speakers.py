"""The built-in voices: a directory of recordings, `speakers_info.json` saying what is said in each.

As the publishers' repository has it: `{"Tingting": "...", "TingtingRAP": "..."}` beside `Tingting_prompt.wav` and
`TingtingRAP_prompt.wav`. A name with `RAP` or `哼唱` behind it is how the same speaker sings.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from errors import BadRequest, Conflict, NotFound, Unprocessable
from stepaudio.instructions import MUSIC

INFO = "speakers_info.json"
ADDED_MAX = 64
NAME_CHARACTERS_MAX = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Speaker:
    """A recording to speak like."""

    name: str
    """Empty for one that only this call knows."""
    text: str
    """What is said in it."""
    recording: Path | bytes
    """A file, or what is in one."""


class Speakers:
    """The voices of a directory.

    Args:
        known: by their names.
    """

    def __init__(self, known: Mapping[str, Speaker]) -> None:
        self._known = dict(known)
        self._added = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Those that speak, without the ways in which they sing."""
        return tuple(name for name in self._known if not self._sings(name))

    def find(self, name: str, music: str = "") -> Speaker:
        """A speaker, or how they sing.

        Args:
            name: of the speaker.
            music: `RAP`, `哼唱` or empty.

        Raises:
            NotFound: there is no such speaker, or they do not sing so.
        """
        found = self._known.get(f"{name}{music}")
        if found is None:
            names = ", ".join(self._known) or "none"
            what = f"the speaker {name!r}" + (
                f" does not know {music}" if music and name in self._known else " is not known"
            )
            raise NotFound(f"{what}; there are: {names}", zh=f"没有音色 {name}{music}；现有：{names}")
        return dataclasses.replace(found, name=name)

    @property
    def all_names(self) -> tuple[str, ...]:
        """With the ways in which they sing."""
        return tuple(self._known)

    def add(self, speaker: Speaker) -> None:
        """Take in another one, for as long as this lives.

        Raises:
            BadRequest: the name is empty or too long.
            Conflict: the name is taken, or there are ADDED_MAX of them already.
        """
        if not 0 < len(speaker.name) <= NAME_CHARACTERS_MAX:
            raise BadRequest(
                f"speaker_name must have 1 to {NAME_CHARACTERS_MAX} characters",
                zh=f"音色名应为 1 至 {NAME_CHARACTERS_MAX} 个字符",
            )
        if speaker.name in self._known or self._added >= ADDED_MAX:
            taken = speaker.name in self._known
            what = (
                f"the speaker {speaker.name!r} is there already"
                if taken
                else f"{ADDED_MAX} speakers were added already"
            )
            raise Conflict(what, zh="该音色名已存在" if taken else f"已添加 {ADDED_MAX} 个音色，达到上限")
        self._known[speaker.name] = speaker
        self._added += 1

    def _sings(self, name: str) -> bool:
        return any(name.endswith(music) and name.removesuffix(music) in self._known for music in MUSIC)


def read_speakers(directory: Path) -> Speakers:
    """The voices of a directory; their recordings are read when they are needed.

    Raises:
        NotFound: the list, or a recording, is missing.
        Unprocessable: the list is damaged, or a name leads out of the directory.
    """
    path = directory / INFO
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there", zh=f"{path} 不存在") from error
    except (OSError, ValueError) as error:
        raise Unprocessable(f"{path} is not JSON: {error}") from error
    if not isinstance(facts, dict) or not all(isinstance(text, str) for text in facts.values()):
        raise Unprocessable(f"{path} must be an object of names and what each says")
    known = {}
    for name, text in facts.items():
        if not name or Path(name).name != name or name.startswith("."):
            raise Unprocessable(f"{path}: {name!r} is no name of a speaker")
        recording = directory / f"{name}_prompt.wav"
        if not recording.is_file():
            raise NotFound(f"{recording} is not there", zh=f"{recording} 不存在")
        known[name] = Speaker(name, text, recording)
    return Speakers(known)
