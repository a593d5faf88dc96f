"""Words to phonemes in Kokoro's alphabet: Chinese by misaki, English by hibari's port of misaki's rules.

Slow to import and to load (jieba alone takes a second), so it belongs in a worker thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import unicodedata
import warnings
from pathlib import Path

import hibari.g2p

from text.clauses import script_of
from tts.phonemes import LONG_NUMBER, Spelling, readable

with warnings.catch_warnings():
    # jieba's source has escapes that Python no longer likes, and looks for pkg_resources.
    warnings.simplefilter("ignore")
    import cn2an  # type: ignore[import-untyped]
    import jieba
    from misaki.zh import ZHG2P

_DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")
_RUNS = re.compile(r"[\u3400-\u9fff]+|[A-Za-z][A-Za-z0-9'’.+#-]*(?: +[A-Za-z][A-Za-z0-9'’.+#-]*)*|.", re.DOTALL)


class Speller:
    """Spells clauses.

    Args:
        cache: directory for jieba's prepared dictionary; where that cannot be written, it is prepared each time.
    """

    def __init__(self, cache: Path) -> None:
        jieba.setLogLevel(logging.WARNING)
        logging.getLogger("jieba").handlers.clear()  # it writes to standard error by itself, in a form of its own
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as instead:
            jieba.dt.tmp_dir = str(cache) if os.access(cache, os.W_OK) else instead
            jieba.initialize()
        self._english: dict[bool, hibari.g2p.G2P] = {}

    def spell(self, clause: str, language: str, *, british: bool = False) -> list[Spelling]:
        """The words and marks of a clause in order."""
        clause = unicodedata.normalize("NFKC", clause.replace("℃", "摄氏度") if language == "zh" else clause)
        return self._chinese(clause, british) if language == "zh" else self._words(clause, british)

    def _chinese(self, clause: str, british: bool) -> list[Spelling]:
        """Chinese, with whatever Latin words and numbers it has in it."""
        clause = LONG_NUMBER.sub(lambda number: number[0].translate(_DIGITS), clause)
        # A number it cannot read stays as it is and is read digit by digit.
        with contextlib.suppress(ValueError):
            clause = cn2an.transform(clause, "an2cn")
        clause = clause.translate(_DIGITS)
        spellings: list[Spelling] = []
        for run in _RUNS.findall(clause):
            if script_of(run[0]) == "HAN":
                spellings += [Spelling(word, ZHG2P.word2ipa(word)) for word in jieba.cut(run)]
            elif run[0].isascii() and run[0].isalpha():
                spellings += self._words(run, british)
            else:
                spellings.append(Spelling(run, ZHG2P.map_punctuation(run) or run))
        return spellings

    def _words(self, clause: str, british: bool) -> list[Spelling]:
        """English: word by word where sound and spelling have as many words, else as one."""
        g2p = self._english.get(british)
        if g2p is None:
            g2p = self._english[british] = hibari.g2p.G2P(british=british)
        clause = readable(clause)
        phonemes, words = g2p(clause).split(), clause.split()
        if len(phonemes) == len(words):
            return [Spelling(word, sound) for word, sound in zip(words, phonemes, strict=True)]
        return [Spelling(clause, " ".join(phonemes))]
