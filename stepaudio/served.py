"""Step-Audio behind a server: `StepAudioModel`, the language model of `--llm stepaudio`.

Step-Audio is served by the publishers' fork of vLLM (branch add-step1-model) and takes text; Step-Audio 2 by their
image `stepfun2025/vllm:step-audio-2-v20250909`, hears sound as well, and speaks: where a reply begins with `TTS_START`,
every chunk carries `tts_content` with the words and the codes of their sound.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import aiohttp
import soundfile

from chat.conversation import Message
from chat.tools import Calls, Toolbox
from errors import BadRequest, EngineError
from llm import CONNECT_TIMEOUT_S, RETRY_DELAYS_S, Delta, LanguageModel
from media import SAMPLE_RATE_HZ, Pcm
from stepaudio import chat

DEFAULT_BASE_URL = "http://127.0.0.1:8000/v1"
TTS_START = "<tts_start>"
HEARD_S = 25
"""Step-Audio 2 hears longer sound in pieces of so much."""
CODES_2 = 6561
"""Codes of Step-Audio 2's sound: 25 a second, of its own vocoder."""
SAMPLING: dict[str, Any] = {"max_tokens": 2048, "temperature": 0.7, "top_p": 0.9}
"""As the publishers call Step-Audio."""
SAMPLING_2: dict[str, Any] = {
    **SAMPLING, "repetition_penalty": 1.05, "frequency_penalty": 0, "skip_special_tokens": False,
    "parallel_tool_calls": False,
}  # fmt: skip
SPOKEN_TOKENS_MAX = 4096
"""Of a spoken reply, four of whose five tokens are sound."""
_CODE = re.compile(r"<audio_(\d{1,9})>")
_SPECIAL = re.compile(r"<\|?(?:audio_\d+|tts_start|tts_end|tts_pad|BOT|EOT)\|?>")


class StepAudioModel(LanguageModel):
    """Either model behind its server; which one is told by the name that it is served by.

    Args:
        base_url: of the server, with its `/v1`; empty: DEFAULT_BASE_URL.
        model: the name it is served by; empty: the first that the server lists.
        api_key: sent as a bearer token; empty: none is.
        tools: what the model may call.
        retry_delays_s: pauses before a request is made again.
    """

    def __init__(
        self,
        base_url: str = "",
        model: str = "",
        api_key: str = "",
        *,
        tools: Toolbox | None = None,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
    ) -> None:
        super().__init__(base_url or DEFAULT_BASE_URL, model, api_key, tools=tools, retry_delays_s=retry_delays_s)

    @property
    def hears(self) -> bool:
        """Whether it is Step-Audio 2."""
        return bool(re.search(r"audio-?_?2", self.model.lower()))

    async def stream(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        """As of any language model; parts of sound are heard by Step-Audio 2.

        Raises:
            EngineError: the server cannot be reached, refuses, stalls or sends what is not a reply.
            BadRequest: a message is not of `chat`'s form, or holds sound that the model does not hear.
        """
        await self.find_model()
        async with contextlib.aclosing(super().stream(messages)) as texts:
            async for text in texts:
                yield text

    async def spoken(self, messages: Sequence[Mapping[str, Any]]) -> AsyncGenerator[Delta, None]:
        """The words of a reply, and the codes of their sound, 0..6560, as they come. Only of Step-Audio 2.

        Raises:
            EngineError: see `stream`.
            BadRequest: see `stream`; or the model does not speak.
        """
        await self.find_model()
        if not self.hears:
            raise BadRequest(
                f"{self.model} does not speak by itself; only Step-Audio 2 does", zh=f"{self.model} 不直接生成语音"
            )
        begun = [*wire_messages(messages, hears=True), {"role": "assistant", "content": TTS_START, "eot": False}]
        body = {
            "model": self.model, "messages": begun, "stream": True, **SAMPLING_2, "max_tokens": SPOKEN_TOKENS_MAX,
            "continue_final_message": True, "add_generation_prompt": False,
        }  # fmt: skip
        async with contextlib.aclosing(self.exchange(body, Calls())) as deltas:
            async for delta in deltas:
                yield delta

    async def find_model(self) -> None:
        """Ask the server for the model's name, where none is configured.

        Raises:
            EngineError: it does not answer, or serves none.
        """
        if self.model:
            return
        url = f"{self.base_url}/models"
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
        try:
            async with self._client().get(url, headers=self._headers, timeout=timeout) as response:
                facts = await response.json(content_type=None) if response.status == 200 else {}
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise EngineError("llm", f"{url}: {error or type(error).__name__}; is Step-Audio served there?") from error
        served = facts.get("data") if isinstance(facts, dict) else None
        first = served[0] if isinstance(served, list) and served else None
        if not isinstance(first, dict) or not isinstance(first.get("id"), str):
            raise EngineError("llm", f"{url} answered {status} and names no model; give --llm_model")
        self.model = first["id"]

    def _body(self, messages: list[Message], may_call: bool) -> dict[str, Any]:
        body = super()._body(messages, may_call)
        body["messages"] = wire_messages(messages, hears=self.hears)
        if self.hears:
            return {**body, **SAMPLING_2, "continue_final_message": False, "add_generation_prompt": True}
        return {**body, **SAMPLING}

    def read(self, part: Mapping[str, Any], finish: str) -> Delta:
        """A part of a reply: its `tts_content` where it has one; tokens that are no words are left out."""
        delta = super().read(part, finish)
        spoken = part.get("tts_content")
        text, audio = delta.text, ""
        if isinstance(spoken, Mapping):
            text = str(spoken.get("tts_text") or "") or text
            audio = str(spoken.get("tts_audio") or "")
        codes = tuple(code for code in map(int, _CODE.findall(audio)) if code < CODES_2)
        return dataclasses.replace(delta, text=_SPECIAL.sub("", text), audio=codes)


def wire_messages(messages: Sequence[Mapping[str, Any]], *, hears: bool) -> list[dict[str, Any]]:
    """The messages as the server takes them.

    Args:
        messages: of `chat`'s form; what belongs to tools goes on as it is.
        hears: whether it is Step-Audio 2.

    Raises:
        BadRequest: one is of another form, or holds sound that the model does not hear.
    """
    wired: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if message.get("role") == "tool" or message.get("tool_calls"):
            wired.append(dict(message))
            continue
        role = chat.role_of(message, place)
        content = message.get("content")
        if content is None:
            raise BadRequest(f"message {place} has no content", zh=f"第 {place} 条消息没有内容")
        found = [item for part in chat.parts(content, place) for item in _wired_part(part, place, hears)]
        texts = [item["text"] for item in found if item["type"] == "text"]
        role = role if hears else str(message["role"])
        wired.append({"role": role, "content": "".join(texts) if len(texts) == len(found) else found})
    return wired


def _wired_part(part: chat.Part, place: int, hears: bool) -> list[dict[str, Any]]:
    if part["type"] == "text":
        return [{"type": "text", "text": chat.unmarked(part["text"])}]
    if not hears:
        raise BadRequest(
            f"message {place} holds sound, and the served model takes text only; Step-Audio 2 hears",
            zh=f"第 {place} 条消息含有音频，而该服务只接受文字；Step-Audio 2 可以听音频",
        )
    from stepaudio.sound import load_audio, to_rate  # decoding comes with sound only

    pcm = to_rate(*load_audio(part["audio"]))
    step = HEARD_S * SAMPLE_RATE_HZ
    return [_input_audio(pcm[start : start + step]) for start in range(0, len(pcm), step)]


def _input_audio(pcm: Pcm) -> dict[str, Any]:
    """A WAV of 16 bits, as OpenAI's interface carries it."""
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
