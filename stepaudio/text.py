"""`TextTokenizer`: text and the tokens of sound within it, as a language model's ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import sentencepiece

from errors import NotFound, Unprocessable
from stepaudio.chat import BEGIN, END
from stepaudio.codes import FIRST_ID, TOKENS, VOCABULARY_MIN

BOS_ID, END_ID, BEGIN_ID = 1, 3, 4
_MARKS = {BEGIN: BEGIN_ID, END: END_ID}
_SPECIAL = re.compile(r"(<\|BOT\|>|<\|EOT\|>|<audio_\d{1,4}>)")


class TextTokenizer:
    """A published `tokenizer.model`: SentencePiece for the text, and fixed ids for what is none.

    Args:
        model: of SentencePiece.
        begins: whether a conversation begins with BOS_ID.
    """

    def __init__(self, model: Any, *, begins: bool = False) -> None:
        self._model = model
        self._begins = begins

    def encode(self, text: str) -> list[int]:
        """The ids of a text with marks and tokens of sound in it; no id is put before them."""
        ids: list[int] = []
        for piece in _SPECIAL.split(text):
            token = _token(piece)
            if piece in _MARKS:
                ids.append(_MARKS[piece])
            elif token is not None:
                ids.append(FIRST_ID + token)
            elif piece:
                ids += self._model.encode(piece)
        return ids

    def encode_within(self, text: str) -> list[int]:
        """The ids of a text as it stands behind a line break: without the space that SentencePiece puts first."""
        return self.encode("\n" + text)[len(self.encode("\n")) :]

    def encode_conversation(self, text: str) -> list[int]:
        """The ids of a whole conversation."""
        return [BOS_ID] * self._begins + self.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text, with `<audio_N>` where there was sound; marks and ids of no meaning are left out."""
        text = ""
        for is_sound, some in groupby(ids, lambda number: number >= FIRST_ID):
            if is_sound:
                text += "".join(f"<audio_{number - FIRST_ID}>" for number in some if number < VOCABULARY_MIN)
            else:
                text += self._model.decode([n for n in some if n not in _MARKS.values() and n < len(self._model)])
        return text


def load(directory: Path, command: str) -> TextTokenizer:
    """The tokenizer of a published model.

    Args:
        directory: holds `tokenizer.model`, and `tokenizer_config.json` where it is to say how conversations begin.
        command: what brings them.

    Raises:
        NotFound: it is not there.
        Unprocessable: it is no model of SentencePiece.
    """
    path = directory / "tokenizer.model"
    if not path.is_file():
        raise NotFound(f"{path} is not there; to get it: {command}")
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except (RuntimeError, OSError, ValueError) as error:
        raise Unprocessable(f"{path} is no SentencePiece model: {error}; to get it again: {command}") from error
    return TextTokenizer(model, begins=_adds_bos(directory / "tokenizer_config.json"))


def _adds_bos(path: Path) -> bool:
    """What transformers would do of itself: its Llama tokenizers put BOS first unless they are told not to."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    is_llama = isinstance(facts, dict) and str(facts.get("tokenizer_class", "")).startswith("Llama")
    return bool(facts.get("add_bos_token", is_llama)) if isinstance(facts, dict) else False


def _token(piece: str) -> int | None:
    if not piece.startswith("<audio_") or not piece.endswith(">"):
        return None
    number = piece[len("<audio_") : -1]
    return int(number) if number.isdecimal() and int(number) < TOKENS else None
