"""Who an avatar is: what its card tells the language model."""

from __future__ import annotations

from pathlib import Path

from avatar import avatar_directory, read_card
from errors import VisageError


def persona(root: Path, avatar_id: str) -> str:
    """The prompt of an avatar's card, in both languages; empty where it has none, or is not from a directory.

    The text is the same for every visitor, so that servers which keep the beginnings of prompts need not read it again.

    Args:
        root: directory of the avatars.
        avatar_id: as the session shows it.
    """
    try:
        card = read_card(avatar_directory(root, avatar_id))
    except VisageError:
        return ""
    if card.prompt is None:
        return ""
    return "\n".join(text for text in dict.fromkeys((card.prompt.en.strip(), card.prompt.zh.strip())) if text)
