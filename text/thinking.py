"""What a reasoning model thinks aloud in its reply: taken out of the text as it is written."""

from __future__ import annotations


class Thinking:
    """Removes `<think>...</think>`, which local reasoning models write into their reply, from streamed text."""

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, text: str) -> str:
        """Text to speak; what may be the beginning of a tag is held until it is known."""
        self._held += text
        spoken = ""
        while True:
            tag = self.CLOSE if self._inside else self.OPEN
            at = self._held.find(tag)
            if at < 0:
                break
            if not self._inside:
                spoken += self._held[:at]
            self._held = self._held[at + len(tag) :]
            self._inside = not self._inside
        keep = next((n for n in range(len(tag) - 1, 0, -1) if self._held.endswith(tag[:n])), 0)
        if not self._inside:
            spoken += self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return spoken

    def flush(self) -> str:
        """What was held and turned out to be text."""
        held, self._held = self._held, ""
        return "" if self._inside else held
