"""`ListenerEvents`: what a listener tells of what it hears."""

from __future__ import annotations

from listening.utterance import Utterance


class ListenerEvents:
    """What a listener tells, on its event loop. A method must return at once, and a class that derives from this one
    needs only those that it cares for."""

    def speech_started(self, at: float) -> None:
        """Somebody begins to speak: the first sound was at `at`, monotonic s, as in all that follows."""

    def speech_ongoing(self, at: float, voiced_s: float) -> None:
        """They still speak, or speak again after a pause; `voiced_s` of speech so far. Every 32 ms."""

    def partial(self, text: str, language: str) -> None:
        """What was said so far, for captions."""

    def pause(self, at: float) -> None:
        """They pause since `at`."""

    def speech_resumed(self, at: float) -> None:
        """They go on after a pause: what was prepared for the end of the turn is void."""

    def likely_end(self, utterance: Utterance) -> None:
        """The turn ends with this text `wait_s` after `ended` unless they go on: an answer may be prepared."""

    def turn_ended(self, utterance: Utterance) -> None:
        """The turn has ended. One of reason `wait` asks for patience, not for an answer."""

    def dropped(self, reason: str) -> None:
        """What began with `speech_started` was nothing, or was lost; `reason` says why."""
