"""`MouthFade`: how much of the drawn mouth covers the idle picture, unit by unit.

It fades in where a voice begins and out where it pauses or ends, never by more than `BLEND_IN` a unit.
"""

from __future__ import annotations

BLEND_IN = 1 / 3  # share of the drawn mouth added per unit: in over 3 units, 120 ms
BLEND_OUT = 1 / 4  # out over 4 units once the mouth is closed, or a pause is one
BLEND_OUT_INTERRUPTED = 1 / 3  # and over 3 after an interruption
BLEND_LEAST = 1 / 256  # less than this of a mouth cannot be seen
TAIL_UNITS = 2  # units after the last speech in which the drawn mouth closes before it is blended out


class MouthFade:
    """The blend of the unit planned last."""

    def __init__(self) -> None:
        self.blend = 0.0
        """0..1."""
        self._out = BLEND_OUT
        self._tail = 0

    @property
    def is_seen(self) -> bool:
        """Whether the next unit must be drawn even if nothing is said in it."""
        return self.blend > self._out + BLEND_LEAST or self._tail > 0

    def speak(self, voice_near: bool) -> None:
        """One unit of speech; `voice_near`: there is a voice in it or right after it."""
        self._out = BLEND_OUT
        if voice_near:
            self._tail = TAIL_UNITS
            self.blend = min(1.0, self.blend + BLEND_IN)
        else:
            self._tail = 0  # in a pause the drawn mouth has closed by now
            self.blend = max(0.0, self.blend - self._out)

    def close(self) -> None:
        """One unit after the end of speech."""
        if self._tail > 0:
            self._tail -= 1
        else:
            self.blend = max(0.0, self.blend - self._out)

    def break_off(self, shown: float) -> None:
        """What was planned is dropped: close from the blend that is shown."""
        self.blend, self._out, self._tail = shown, BLEND_OUT_INTERRUPTED, 0
