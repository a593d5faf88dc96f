"""Text as a language model writes it, made into what a person would say, while it is still being written.

    texts -> Thinking -> SpokenText -> text.clauses.ClauseCutter

Headings, lists, tables, emphasis, links, code and HTML lose their marks; blocks of code are named, not read; addresses
become "example dot com", formulas words, emoji nothing. Only what is spoken changes: whoever shows the reply shows what
the model wrote. A text fed in pieces gives the same as the text fed whole; held back is only what may be the beginning
of something (at most `HELD_MAX` characters, mostly a word).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator

from text.formulas import Place, Said
from text.output import ENDED, Speech
from text.signs import SIGNS, TARGET_CHARACTERS_MAX
from text.thinking import Thinking
from text.words import CODE, EMAIL, FILE, SCHEME, SITE, WORDS, site, spelled

HELD_MAX = TARGET_CHARACTERS_MAX + 100
RUN_MAX = 512
"""Characters of an address or a rule that are looked at in one piece."""
_RUN = re.compile(r"[A-Za-z0-9._@+'%:/?=&#~!-]{1,512}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[A-Za-z0-9._@+'%:/?=&#~!,;()*$-]{0,512}")
_URL_REST = re.compile(r"[A-Za-z0-9._@+'%:/?=&#~!,;()*$-]+")
_LINE_MARK = re.compile(r"#{1,6}|[-*+•‣◦▪●○·–—]|\[[ xX]\]|[0-9]{1,3}[.)]")
_LINE_MARK_BEGUN = re.compile(r"[0-9]{1,3}[.)]?|\[[ xX]?\]?")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9]+(?:['’][A-Za-z]+)*")
_SIGNED_NAME = re.compile(r"([CFJcf])(#|\+\+)(?![A-Za-z0-9#+])")
_RULE = re.compile(r"[-=_*:|＝ \t]{1,512}")
_BULLETS = "-*+•‣◦▪●○·–—"


async def speakable(texts: AsyncIterator[str], language: str = "en") -> AsyncGenerator[str, None]:
    """The text as it is to be spoken, as it comes; what a model thinks aloud is left out.

    Args:
        texts: pieces of a reply.
        language: `zh` or another, for signs that come before any letter; afterwards the text's own letters tell.
    """
    thinking, spoken = Thinking(), SpokenText(language)
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(texts, AsyncGenerator):
            await stack.enter_async_context(contextlib.aclosing(texts))
        async for text in texts:
            if out := spoken.feed(thinking.feed(text)):
                yield out
        if out := spoken.feed(thinking.flush()) + spoken.flush():
            yield out


def spoken(text: str, language: str = "en") -> str:
    """A whole text as it is to be spoken."""
    speaker = SpokenText(language)
    return speaker.feed(text) + speaker.flush()


class SpokenText:
    """Takes a text as it is written and gives what is to be spoken of it.

    Args:
        language: as in `speakable`.
    """

    def __init__(self, language: str = "en") -> None:
        self._raw = ""
        self._speech = Speech(language)
        self._before = "\n"
        self._solid = "\n"
        """The last character that is no space."""
        self._line_start = True
        self._fence = ""
        """What ends the block of code that the text is in."""
        self._in_url = False

    def feed(self, text: str) -> str:
        """Add text; return what can be spoken now."""
        self._raw += text
        return self._take(at_end=False)

    def flush(self) -> str:
        """End the text; return the rest."""
        return self._take(at_end=True)

    def _take(self, *, at_end: bool) -> str:
        raw, at = self._raw, 0
        while at < len(raw):
            end = self._step(raw, at, at_end)
            if end is None:
                break
            for character in raw[at:end][-8:]:
                self._before = character
                self._solid = self._solid if character.isspace() else character
            at = end
        self._raw = raw[at:]
        return self._speech.take()

    def _step(self, raw: str, at: int, at_end: bool) -> int | None:
        """Go past what is at `at`; None while that hangs on text still to come."""
        if self._fence:
            return self._code(raw, at, at_end)
        if self._in_url:
            match = _URL_REST.match(raw, at)
            self._in_url = match is not None and match.end() == len(raw)
            if match is not None:
                return match.end()
        if self._line_start and raw[at] != "\n":
            end = self._marker(raw, at, at_end)
            if end != at:
                return end
            self._line_start = False
        if raw[at] == "\n":
            self._speech.end_line()
            self._line_start = True
            return at + 1
        if raw[at] == "`":
            return self._backticks(raw, at, at_end)
        if raw[at].isascii() and raw[at].isalnum():
            return self._word(raw, at, at_end)
        return self._sign(raw, at, at_end)

    def _code(self, raw: str, at: int, at_end: bool) -> int | None:
        end = raw.find(self._fence, at)
        if end >= 0:
            end += len(self._fence)
            self._fence = ""
            return end
        keep = 0 if at_end else len(self._fence) - 1
        return len(raw) - keep if len(raw) - at > keep else None

    def _backticks(self, raw: str, at: int, at_end: bool) -> int | None:
        """One or two stand around words of code, which are spoken; more begin a block, which is not."""
        end = at
        while end < len(raw) and raw[end] == raw[at] and end - at < RUN_MAX:
            end += 1
        if end == len(raw) and not at_end and end - at < RUN_MAX:
            return None
        if end - at >= 3:
            self._fence = raw[at:end]
            if self._speech.last and self._speech.last not in ENDED + "\n ":
                self._speech.give("。" if self._speech.zh else ".")
            self._speech.apart(pause=False)
            self._speech.text(CODE[self._speech.zh])
        return end

    def _marker(self, raw: str, at: int, at_end: bool) -> int | None:
        """Go past one mark that may stand before a line; `at` where there is none."""
        character = raw[at]
        if character.isspace():
            return at + 1
        if character in "-=_*:|＝":
            match = _RULE.match(raw, at)
            assert match is not None
            if match.end() == len(raw) and not at_end and match.end() - at < RUN_MAX:
                return None
            rule = sum(match[0].count(sign) for sign in "-=_*＝") >= 3
            if rule and raw[match.end() : match.end() + 1] in ("", "\n"):
                self._speech.kind = ""
                return min(match.end() + 1, len(raw))
        if character == "~":
            run = len(raw[at : at + RUN_MAX]) - len(raw[at : at + RUN_MAX].lstrip("~"))
            if at + run == len(raw) and not at_end and run < RUN_MAX:
                return None
            return self._backticks(raw, at, at_end) if run >= 3 else at
        if character in ">|":
            self._speech.kind = "row" if character == "|" else self._speech.kind
            return at + 1
        return self._list_marker(raw, at, at_end)

    def _list_marker(self, raw: str, at: int, at_end: bool) -> int | None:
        """Headings, bullets, boxes to tick, and numbers of items."""
        begun = _LINE_MARK_BEGUN.match(raw, at)
        if begun is not None and begun.end() == len(raw) and not at_end:
            return None
        match = _LINE_MARK.match(raw, at)
        if match is None:
            return at
        if match.end() + 1 >= len(raw) and not at_end:
            return None
        behind = raw[match.end() : match.end() + 1] or "\n"
        mark = match[0]
        if mark[0] == "#" and (behind.isspace() or (len(mark) > 1 and not behind.isdigit())):
            self._speech.kind = "heading"
            return match.end()
        if mark in _BULLETS and behind.isspace():
            self._speech.kind = "item"
            return match.end() + 1 if behind != "\n" else match.end()
        if mark[0] == "[" and self._speech.kind == "item" and behind.isspace():
            return match.end()
        if mark[-1] in ".)" and behind.isspace() and mark[0].isdigit():
            self._speech.kind = "item"
            self._line_start = False
            self._speech.text(mark[:-1] + ".")
            return match.end()
        return at

    def _word(self, raw: str, at: int, at_end: bool) -> int | None:
        """A word, or an address, which is one run of characters without a space."""
        match = _URL.match(raw, at) or _RUN.match(raw, at)
        assert match is not None
        end = match.end()
        if end == len(raw) and not at_end and end - at < RUN_MAX:
            return None
        if SCHEME.match(raw, at):
            return self._url(match[0], at)
        if found := EMAIL.match(raw, at, end):
            user, host = spelled(found[1], self._speech.zh), spelled(found[2], self._speech.zh)
            self._speech.say(f"{user}艾特{host}" if self._speech.zh else f"{user} at {host}")
            return found.end()
        if found := FILE.match(raw, at, end):
            self._speech.say(spelled(found[0].replace("_", " ").replace("-", " "), self._speech.zh))
            return found.end()
        if found := SITE.match(raw, at, end):
            address = found[0].rstrip(".-+%~")
            self._speech.say(site(address, self._speech.zh))
            return at + len(address)
        if found := _SIGNED_NAME.match(raw, at, end):
            self._speech.say(f"{found[1]} {'sharp' if found[2] == '#' else 'plus plus'}")
            return found.end()
        found = _PLAIN_WORD.match(raw, at, end)
        assert found is not None
        self._speech.text(found[0])
        return found.end()

    def _url(self, run: str, at: int) -> int:
        address = run.rstrip(".,;:!?'*~_$")
        while address.endswith(")") and address.count(")") > address.count("("):
            address = address[:-1].rstrip(".,;:!?'*~_$")
        self._speech.say(site(address, self._speech.zh))
        self._in_url = len(run) >= RUN_MAX
        return at + len(run if self._in_url else address)

    def _sign(self, raw: str, at: int, at_end: bool) -> int | None:
        character = raw[at]
        if character not in SIGNS:
            if character in WORDS and character != "·":
                self._apply(Said(at + 1, character))
            else:
                self._speech.text(character)
            return at + 1
        found = SIGNS[character](Place(raw, at, self._before, self._solid, at_end))
        if found is None:
            return None
        self._apply(found)
        return found.end

    def _apply(self, said: Said) -> None:
        if said.inner:
            self._speech.say(self._with_inner(said.key, *(self._inner(text) for text in said.inner)))
        elif said.join == "line":
            self._speech.end_line()
            self._line_start = True
        elif said.join in ("pause", "space"):
            self._speech.apart(said.join == "pause")
        elif said.join == "character":
            self._speech.text(said.key)
        elif said.key:
            self._speech.say(WORDS[said.key][self._speech.zh] if said.key in WORDS else said.key)

    def _inner(self, text: str) -> str:
        part = SpokenText("zh" if self._speech.zh else "en")
        part._line_start = False
        return (part.feed(text) + part.flush()).strip()

    def _with_inner(self, key: str, *parts: str) -> str:
        if key == "over":
            return f"{parts[1]}分之{parts[0]}" if self._speech.zh else f"{parts[0]} over {parts[1]}"
        return f"的{parts[0]}次方" if self._speech.zh else f"to the power of {parts[0]}"
