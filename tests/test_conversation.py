"""Who an avatar is, by its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatar import CARD, LocalName, read_card
from chat.persona import persona
from errors import Unprocessable

ROOT = Path(__file__).parent.parent / "data" / "avatars"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    card = json.loads((ROOT / "mira" / CARD).read_text("utf-8"))
    for avatar_id, prompt in (
        ("plain", None),
        ("guide", {"en": "You are Mira, a museum guide.", "zh": "你是博物馆讲解员米拉。"}),
        ("one", {"en": "You are One. ", "zh": "You are One."}),
        ("wrong", {"en": "no Chinese"}),
    ):
        (tmp_path / avatar_id).mkdir()
        body = {**card, "id": avatar_id} | ({"prompt": prompt} if prompt else {})
        (tmp_path / avatar_id / CARD).write_text(json.dumps(body), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("avatar_id", "prompt"),
    [
        ("guide", "You are Mira, a museum guide.\n你是博物馆讲解员米拉。"),
        ("one", "You are One."),
        ("plain", ""),
        ("wrong", ""),
        ("nobody", ""),
        ("../guide", ""),
    ],
)
def test_an_avatar_knows_who_it_is(root: Path, avatar_id: str, prompt: str) -> None:
    assert persona(root, avatar_id) == prompt


def test_a_card_may_do_without(root: Path) -> None:
    assert read_card(root / "plain").prompt is None
    assert read_card(root / "guide").prompt == LocalName(
        en="You are Mira, a museum guide.", zh="你是博物馆讲解员米拉。"
    )
    with pytest.raises(Unprocessable, match="prompt.zh"):
        read_card(root / "wrong")
