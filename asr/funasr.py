"""FunASR's runtime server (Paraformer, SenseVoice) by its WebSocket protocol.

After `runtime/docs/websocket_protocol.md` of modelscope/FunASR, and what its two servers make of it: the one in C++
ends with `is_final`; the one in Python means something else by it, says nothing at all where it heard nothing, and
serves one connection at a time (a second one closes the first), or, since 2026, ends with `is_end`.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import aiohttp

from asr.base import Transcript
from asr.hallucinations import is_quiet, why_doubted
from asr.openai import pcm16_bytes
from asr.precedence import Precedence
from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm
from text.clauses import language_of

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 8.0
SETTLE_S = 0.2
"""After a text, for another one of the same utterance: the server cuts at pauses by itself."""
NOTHING_S = 2.0
"""Without a word the server is asked whether it is still there; when it is, it heard nothing."""
CHUNK_SIZE = (5, 10, 5)
CHUNK_INTERVAL = 10
CHUNK_SAMPLES = 60 * CHUNK_SIZE[1] // CHUNK_INTERVAL * SAMPLE_RATE_HZ // 1000
"""60 ms, as its own client sends; the server's VAD works chunk by chunk."""
MESSAGE_BYTES_MAX = 1 << 20
_TAG = re.compile(r"<\|([^|<>]*)\|>")
"""What SenseVoice writes before its text: language, emotion, event, with or without inverse normalisation."""
_LANGUAGES = frozenset({"zh", "en", "yue", "ja", "ko"})


class FunAsrRecogniser:
    """One server; one utterance at a time, what is final first.

    Args:
        url: `ws://host:10095` or `wss://...`.
        verify: False accepts any certificate, as FunASR's own client does: its images bring a self-signed one.
        takes_partials: whether utterances that go on are sent too, about one request a second.
    """

    name = "funasr"

    def __init__(self, url: str, *, verify: bool = True, takes_partials: bool = True) -> None:
        self.takes_partials = takes_partials
        self._url = url
        self._verify = verify
        self._precedence = Precedence()
        self._session: aiohttp.ClientSession | None = None

    def why_not(self) -> str | None:
        """Always None: only asking tells."""
        return None

    async def warm_up(self) -> None:
        """Nothing: a second connection would end another client's."""

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """The server's transcript; the language is what it wrote, whatever was asked for."""
        seconds = pcm.size / SAMPLE_RATE_HZ
        if is_quiet(pcm):
            return Transcript("", language or "zh", 0.0, 1.0, seconds)
        async with self._precedence.turn(final=final):
            texts = await self._ask(pcm)
        tags = [tag for text in texts for tag in _TAG.findall(text)]
        plain = [_TAG.sub("", text).strip() for text in texts]
        text = (" " if all(part.isascii() for part in plain) else "").join(filter(None, plain))
        tag = next((tag for tag in tags if tag in _LANGUAGES), language_of(text, language or "zh"))
        found = Transcript(text, "zh" if tag == "yue" else tag, 1.0 if text else 0.0, 0.0, seconds)
        return found.without_text() if why_doubted(text) else found

    async def aclose(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, pcm: Pcm) -> list[str]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                socket = await self._client().ws_connect(
                    self._url,
                    protocols=("binary",),
                    autoping=False,
                    max_msg_size=MESSAGE_BYTES_MAX,
                    ssl=self._verify,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
            async with socket, asyncio.timeout(ANSWER_TIMEOUT_S):
                await _send(socket, pcm)
                return await self._texts(socket)
        except TimeoutError as error:
            raise EngineError(self.name, f"{self._url} did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EngineError(self.name, f"{self._url}: {error or type(error).__name__}") from error

    async def _texts(self, socket: aiohttp.ClientWebSocketResponse) -> list[str]:
        """What the server says after the end of the utterance, until it has said all."""
        texts: list[str] = []
        asked = False
        while True:
            try:
                async with asyncio.timeout(SETTLE_S if texts else NOTHING_S):
                    message = await socket.receive()
            except TimeoutError:
                if texts:
                    return texts
                await socket.ping()
                asked = True
                continue
            if message.type == aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type == aiohttp.WSMsgType.PONG and asked and not texts:
                return []
            elif message.type == aiohttp.WSMsgType.TEXT:
                facts = _facts(message.data)
                if facts.get("error"):
                    raise EngineError(self.name, f"{self._url}: {str(facts['error'])[:200]}")
                text = str(facts.get("text") or "").strip()
                # The second pass corrects what `2pass-online` gave meanwhile.
                if text and not str(facts.get("mode", "")).endswith("online"):
                    texts.append(text)
                if facts.get("is_end") or (facts.get("is_final") and not text):
                    return texts
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                if texts:
                    return texts
                raise EngineError(self.name, f"{self._url} closed the connection without an answer")
            elif message.type == aiohttp.WSMsgType.ERROR:
                raise EngineError(self.name, f"{self._url}: {message.data}")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


async def _send(socket: aiohttp.ClientWebSocketResponse, pcm: Pcm) -> None:
    """The whole utterance, not paced: it was spoken already."""
    first = {
        "mode": "offline",
        "wav_name": "utterance",
        "wav_format": "pcm",
        "audio_fs": SAMPLE_RATE_HZ,
        "chunk_size": list(CHUNK_SIZE),
        "chunk_interval": CHUNK_INTERVAL,
        "is_speaking": True,
        "itn": True,
    }
    await socket.send_str(json.dumps(first))
    for at in range(0, pcm.size, CHUNK_SAMPLES):
        await socket.send_bytes(pcm16_bytes(pcm[at : at + CHUNK_SAMPLES]))
    await socket.send_str(json.dumps({"is_speaking": False, "is_end": True}))


def _facts(data: str) -> dict[str, Any]:
    facts = json.loads(data)
    if not isinstance(facts, dict):
        raise ValueError(f"a message is a {type(facts).__name__}, but must be an object")
    return facts
