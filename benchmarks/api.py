"""The HTTP interface, from a client's side."""

from __future__ import annotations

import dataclasses
import time
from types import TracebackType
from typing import Any

import aiohttp

TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True)
class Reply:
    """One answered request; `sent` and `done` in monotonic seconds."""

    sent: float
    done: float
    status: int
    body: dict[str, Any]


class Api:
    """Use as an async context manager. A failing request raises `ConnectionError` with what the server said."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def post(self, path: str, **body: Any) -> Reply:
        """POST `json=` or `data=` and read the JSON answer."""
        if self._http is None:
            raise RuntimeError("Api is used outside its context")
        sent = time.monotonic()
        async with self._http.post(self.url + path, **body) as response:
            text = await response.text()
            done = time.monotonic()
            if response.status != 200:
                raise ConnectionError(f"{path}: HTTP {response.status}: {text[:200]}")
            answer = await response.json(content_type=None)
        if not isinstance(answer, dict) or answer.get("code", 0) != 0:
            raise ConnectionError(f"{path}: {text[:200]}")
        return Reply(sent, done, response.status, answer)

    async def human(self, sessionid: str, text: str, *, interrupt: bool = False) -> Reply:
        """Have `text` spoken as it is."""
        call = {"sessionid": sessionid, "type": "echo", "text": text, "interrupt": interrupt}
        return await self.post("/human", json=call)

    async def human_audio(self, sessionid: str, wav: bytes) -> Reply:
        """Have a recording spoken."""
        form = aiohttp.FormData()
        form.add_field("sessionid", sessionid)
        form.add_field("file", wav, filename="speech.wav", content_type="audio/wav")
        return await self.post("/humanaudio", data=form)

    async def interrupt(self, sessionid: str) -> Reply:
        """Stop the speech."""
        return await self.post("/interrupt_talk", json={"sessionid": sessionid})

    async def speaking(self, sessionid: str) -> bool:
        """True until the last of what was said is played out."""
        return bool((await self.post("/is_speaking", json={"sessionid": sessionid})).body.get("data"))

    async def metric(self, name: str) -> float | None:
        """A gauge or counter of `/metrics`, None when the server has none of that name."""
        if self._http is None:
            raise RuntimeError("Api is used outside its context")
        async with self._http.get(self.url + "/metrics") as response:
            text = await response.text() if response.status == 200 else ""
        for line in text.splitlines():
            if line.partition(" ")[0].partition("{")[0] == name:
                return float(line.rpartition(" ")[2])
        return None
