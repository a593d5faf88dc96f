"""`Narrator`: our events as RTVI tells them, for clients of pipecat.

Written against RTVI 2.1.0: `rtvi/messages.ts` of @pipecat-ai/client-js 1.13.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Literal

from media import Event
from transport.channel import Message

LABEL = "rtvi-ai"
USER = "user"
"""Who speaks into the microphone; there is one."""


def message(type_: str, data: Any = None, id_: str = "") -> Message:
    """An RTVI message; one without `id_` answers nothing."""
    made: Message = {"label": LABEL, "type": type_}
    if id_:
        made["id"] = id_
    if data is not None:
        made["data"] = data
    return made


class Narrator:
    """Our events as RTVI tells them. One per client, fed in the order of playout."""

    def __init__(self) -> None:
        self._speaking = False
        self._voiced = False
        """Whether a text or recording has begun and not ended; she may be silent in it, suspended."""
        self._asked = ""
        self._segment = 0
        self._clause = ""
        self._spoken = 0
        """Characters of the clause that were heard, as far as the voice tells words."""
        self._tellers: dict[str, Callable[[dict[str, Any]], list[Message]]] = {
            "user.started": self._user_started,
            "user.stopped": self._user_stopped,
            "transcript.partial": self._transcript_partial,
            "transcript.final": self._transcript_final,
            "reply.started": self._reply_started,
            "reply.text": self._reply_text,
            "reply.ended": self._reply_ended,
            "speech.started": self._speech_started,
            "speech.ended": self._speech_ended,
            "paused": self._paused,
            "resumed": self._resumed,
            "interrupted": self._interrupted,
            "clause.started": self._clause_started,
            "word": self._word,
            "error": self._error,
            "latency": self._latency,
        }

    def tell(self, event: Event) -> list[Message]:
        """The messages for one event."""
        told = self._tellers.get(event.name)
        if told is None:
            return [message("server-message", {**event.data, "event": event.name, "turn": event.turn})]
        return told(event.data)

    def _user_started(self, data: dict[str, Any]) -> list[Message]:
        return [message("user-started-speaking")]

    def _user_stopped(self, data: dict[str, Any]) -> list[Message]:
        return [message("user-stopped-speaking")]

    def _transcript_partial(self, data: dict[str, Any]) -> list[Message]:
        return [_transcription(data, final=False)]

    def _transcript_final(self, data: dict[str, Any]) -> list[Message]:
        self._asked = str(data.get("text", ""))
        return [_transcription(data, final=True)]

    def _reply_started(self, data: dict[str, Any]) -> list[Message]:
        asked, self._asked = self._asked, ""
        return [*([message("user-llm-text", {"text": asked})] if asked else []), message("bot-llm-started")]

    def _reply_text(self, data: dict[str, Any]) -> list[Message]:
        return [message("bot-llm-text", {"text": data.get("text", "")})]

    def _reply_ended(self, data: dict[str, Any]) -> list[Message]:
        return [message("bot-llm-stopped")]

    def _speech_started(self, data: dict[str, Any]) -> list[Message]:
        self._voiced = True
        return [message("bot-tts-started"), *self._sounding(True)]

    def _speech_ended(self, data: dict[str, Any]) -> list[Message]:
        self._voiced = False
        return [*self._finish_clause(), message("bot-tts-stopped"), *self._sounding(False)]

    def _paused(self, data: dict[str, Any]) -> list[Message]:
        return self._sounding(False)

    def _resumed(self, data: dict[str, Any]) -> list[Message]:
        return self._sounding(True)

    def _interrupted(self, data: dict[str, Any]) -> list[Message]:
        self._clause = ""
        stopped = [message("bot-tts-stopped")] if self._voiced else []
        self._voiced = False
        return [*stopped, *self._sounding(False), message("bot-interrupted")]

    def _sounding(self, speaking: bool) -> list[Message]:
        if speaking == self._speaking:
            return []
        self._speaking = speaking
        return [message("bot-started-speaking" if speaking else "bot-stopped-speaking")]

    def _clause_started(self, data: dict[str, Any]) -> list[Message]:
        finished = self._finish_clause()
        self._clause, self._spoken = str(data.get("text", "")), 0
        self._segment += 1
        transcription = message("bot-transcription", {"text": self._clause})
        return [*finished, self._output("in-progress"), transcription]

    def _word(self, data: dict[str, Any]) -> list[Message]:
        word = str(data.get("text", ""))
        place = self._clause.find(word, self._spoken)
        if place >= 0:
            self._spoken = place + len(word)
        return [message("bot-tts-text", {"text": word}), self._output("in-progress")]

    def _finish_clause(self) -> list[Message]:
        """The clause has been heard to its end; a voice that tells no words has its text told now."""
        if not self._clause:
            return []
        made = [] if self._spoken else [message("bot-tts-text", {"text": self._clause})]
        self._spoken = len(self._clause)
        made.append(self._output("completed"))
        self._clause = ""
        return made

    def _output(self, status: Literal["in-progress", "completed"]) -> Message:
        progress = {"accumulated_text": self._clause[: self._spoken], "remaining_text": self._clause[self._spoken :]}
        data = {"text": self._clause, "aggregated_by": "sentence", "segment_id": self._segment, "will_be_spoken": True}
        # `spoken` is what clients of protocol 1.x read.
        spoken = {"spoken": status == "completed", "spoken_status": status, "spoken_progress": progress}
        return message("bot-output", {**data, **spoken})

    def _error(self, data: dict[str, Any]) -> list[Message]:
        text = data.get("message", "")
        return [message("error", {"error": text, "message": text, "fatal": False})]

    def _latency(self, data: dict[str, Any]) -> list[Message]:
        return [
            message(
                "metrics",
                {
                    "ttfb": _figures(data, llm="first_text_s", tts="first_sound_s"),
                    "processing": _figures(data, turn="turn_s", stt="transcript_s", voice_to_voice="total_s"),
                },
            )
        ]


def _transcription(data: dict[str, Any], *, final: bool) -> Message:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return message(
        "user-transcription", {"text": data.get("text", ""), "final": final, "timestamp": now, "user_id": USER}
    )


def _figures(data: dict[str, Any], **names: str) -> list[dict[str, Any]]:
    """Those that are known, as pipecat lists them: seconds by processor."""
    found = {processor: data.get(key) for processor, key in names.items()}
    return [{"processor": processor, "value": value} for processor, value in found.items() if value is not None]
