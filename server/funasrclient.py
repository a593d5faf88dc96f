"""`Client`: what one client of FunASR's protocol sends, and what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import numpy as np
import soxr
from pydantic import Field

from asr.pieces import pieces
from audiofile import RATE_MAX_HZ, RATE_MIN_HZ
from errors import BadRequest, TooLarge, VisageError
from listening.listener import Listener, ListenerEvents
from listening.microphone import Microphone
from listening.sources import PcmSource
from listening.utterance import Utterance
from media import SAMPLE_RATE_HZ, Pcm
from server.ears import Ears
from server.endpoint import Fields
from server.increments import Increments, joined
from server.reading import understood

ANSWERS_MAX = 64  # waiting for a client that does not read; the oldest are lost
AHEAD_S = 1.0  # sound that is taken ahead of its time; a microphone's comes in bursts after a stall
BEHIND_S, BEHIND_MAX_S = 1.0, 30.0
"""Sound that waited, as while models are loaded, is heard at twice its pace from the first on; of very much the last is
taken for what is said now."""
CHUNK_S = 0.5
PIECE_S = 28.0  # Whisper hears 30 s at once
FINISH_TIMEOUT_S = 15.0  # the listener's own recogniser timeout is shorter
CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
"""How files begin that are no bare samples, whatever `wav_format` says."""


class Configuration(Fields):
    """What a client says of itself; every text message may change it."""

    mode: Literal["2pass", "online", "offline"] = "2pass"
    wav_name: str = Field(default="", max_length=200)
    is_speaking: bool = True
    wav_format: str = Field(default="pcm", max_length=16)
    audio_fs: int = Field(default=SAMPLE_RATE_HZ, ge=RATE_MIN_HZ, le=RATE_MAX_HZ)
    svs_lang: str = Field(default="auto", pattern=r"^[a-z]{2,4}$")

    @property
    def language(self) -> str | None:
        """BCP 47 primary tag, None when it is to be found out."""
        return None if self.svs_lang in ("auto", "nospeech") else self.svs_lang


class Client(ListenerEvents):
    """One connection: what it sends, and what it is answered.

    Args:
        ears: the server's.
        decode_file: turns an uploaded file into sound, off the event loop.
        bytes_max: of sound collected for `offline`.
        seconds_max: of such sound.
        now: monotonic seconds.
    """

    def __init__(
        self,
        ears: Ears,
        decode_file: Callable[[bytes], Awaitable[Pcm]],
        bytes_max: int,
        seconds_max: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(ANSWERS_MAX)
        self._ears = ears
        self._decode_file = decode_file
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._values: dict[str, Any] = {}
        self._settings = Configuration()
        self._listener: Listener | None = None
        self._microphone = Microphone()
        self._source: PcmSource | None = None
        self._increments = Increments()
        self._collected = bytearray()
        self._now = now
        self._captured = now()
        """When the sound that was taken last was captured, if it was captured without a break."""
        self._finished: asyncio.Event | None = None
        """Set by the answer to the last utterance, while that is waited for."""

    # ---- what it sends

    async def configure(self, text: str) -> None:
        """Take a text message.

        Raises:
            BadRequest: not a JSON object of known values.
            VisageError: what was collected cannot be recognised.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the message is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise BadRequest(f"the message is a JSON {type(values).__name__}; it must be an object")
        if isinstance(values.get("wav_format"), str):
            values["wav_format"] = values["wav_format"].lower()
        before, self._values = self._settings, {**self._values, **values}
        self._settings = understood(Configuration, self._values)
        if self._settings.audio_fs != before.audio_fs:
            self._source = None
        if values.get("is_speaking") is False:
            await self._stop()
        elif not self._is_file:
            await self._begin()  # the first client's models are loaded before it speaks

    async def hear(self, data: bytes) -> None:
        """Take sound; waits when it comes much faster than it can have been spoken."""
        if self._is_file:
            if len(self._collected) + len(data) > self._bytes_max:
                raise TooLarge(f"more than the {self._bytes_max} bytes of sound that are taken in mode offline")
            self._collected += data
            return
        listener = await self._begin()
        if self._source is None:
            self._source = PcmSource(self._microphone, self._settings.audio_fs, now=lambda: self._captured)
        step = round(CHUNK_S * self._settings.audio_fs) * 2
        for begin in range(0, len(data), step):
            chunk = data[begin : begin + step]
            await self._pace(len(chunk) / 2 / self._settings.audio_fs)
            self._source.feed(chunk)
            await self._feed(listener)

    @property
    def _is_file(self) -> bool:
        return self._settings.mode == "offline" or self._settings.wav_format != "pcm"

    async def _begin(self) -> Listener:
        if self._listener is None:
            self._listener = await self._ears.listener(self, self._settings.language)
        return self._listener

    async def _pace(self, seconds: float) -> None:
        """Before so much sound is taken: wait when it is ahead of its time, take breath when there is much of it."""
        now = self._now()
        self._captured = max(self._captured, now - BEHIND_MAX_S) + seconds
        ahead_s = self._captured - now
        if ahead_s > AHEAD_S:
            await asyncio.sleep(ahead_s - AHEAD_S)
        elif ahead_s < -BEHIND_S:
            await asyncio.sleep(seconds / 2)  # turns are judged meanwhile, or two would become one

    async def _feed(self, listener: Listener) -> None:
        while len(self._microphone):
            await listener.feed(await anext(self._microphone))

    async def _stop(self) -> None:
        """The client has stopped: what is left is recognised now, and the last answer says that it is."""
        if self._collected:
            data, self._collected = bytes(self._collected), bytearray()
            await self._recognise_all(data)
        elif self._listener is not None:
            self._finished = asyncio.Event()
            await self._listener.finish()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_TIMEOUT_S):
                    await self._finished.wait()
            self._finished = None
        else:
            self._answer(self._partial_mode, "", is_final=True)

    async def _recognise_all(self, data: bytes) -> None:
        mode = "2pass-offline" if self._settings.mode == "2pass" else self._settings.mode
        try:
            pcm = await self._decoded(data)
            texts = [
                (await self._ears.recogniser.transcribe(piece, language=self._settings.language)).text
                for piece in pieces(pcm, PIECE_S)
            ]
        except VisageError as error:
            self._answer(mode, "", is_final=True, error=str(error))
        else:
            self._answer(mode, joined(texts), is_final=True)

    async def _decoded(self, data: bytes) -> Pcm:
        if self._settings.wav_format not in ("pcm", "wav") or data.startswith(CONTAINERS):
            return await self._decode_file(data)
        pcm = np.frombuffer(data, "<i2", len(data) // 2).astype(np.float32) / np.float32(32768)
        if pcm.size > self._seconds_max * self._settings.audio_fs:
            raise TooLarge(f"more than the {self._seconds_max:.0f} s of sound that are taken in mode offline")
        if self._settings.audio_fs == SAMPLE_RATE_HZ:
            return pcm
        made: Pcm = await asyncio.to_thread(soxr.resample, pcm, self._settings.audio_fs, SAMPLE_RATE_HZ)
        return made

    # ---- what it is answered

    @property
    def _partial_mode(self) -> str:
        return "2pass-online" if self._settings.mode == "2pass" else self._settings.mode

    def partial(self, text: str, language: str) -> None:
        """See `ListenerEvents`."""
        more = self._increments.partial(text)
        if more:
            self._answer(self._partial_mode, more)

    def turn_ended(self, utterance: Utterance) -> None:
        """See `ListenerEvents`."""
        text = utterance.transcript.text
        rest = self._increments.final(text)
        is_final = self._finished is not None
        if self._settings.mode == "2pass":
            self._answer("2pass-offline", text, is_final=is_final)
        else:
            self._answer(self._partial_mode, rest, is_final=is_final)
        self._set_finished()

    def dropped(self, reason: str) -> None:
        """See `ListenerEvents`: nothing was said, unless the recogniser failed."""
        self._increments.final("")
        error = reason if reason.startswith("recogniser") else ""
        if error or self._finished is not None:
            self._answer(self._partial_mode, "", is_final=self._finished is not None, error=error)
        self._set_finished()

    def _set_finished(self) -> None:
        if self._finished is not None:
            self._finished.set()

    def _answer(self, mode: str, text: str, *, is_final: bool = False, error: str = "") -> None:
        if self.answers.full():
            self.answers.get_nowait()
        made = {"mode": mode, "text": text, "wav_name": self._settings.wav_name, "is_final": is_final}
        self.answers.put_nowait({**made, "error": error} if error else made)

    async def aclose(self) -> None:
        """End what listens."""
        self._microphone.close()
        if self._listener is not None:
            await self._listener.aclose()
