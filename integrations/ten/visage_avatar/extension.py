"""The extension: a graph's speech goes to a Visage server, whose avatar speaks it.

    audio_frame pcm_frame -> voice      cmd flush -> voice_interrupt      data tts_audio_end -> voice_end

Once started it sends data `visage_watch` with the `watch_url` of a page that shows the avatar.
"""

from __future__ import annotations

import array
import asyncio
import json
from typing import Any

import aiohttp
from ten_runtime import (  # type: ignore[import-not-found]
    AsyncExtension,
    AsyncTenEnv,
    AudioFrame,
    Cmd,
    CmdResult,
    Data,
    StatusCode,
)

from .client import AvatarClient

BYTES_PER_SAMPLE = 2
TTS_COMPLETE = 1  # `reason` of tts_audio_end: all of the request's sound was sent
SAMPLES_PER_MESSAGE = 48_000


class VisageAvatarExtension(AsyncExtension):  # type: ignore[misc]
    """One avatar for one node of a graph. Nothing here waits for the network but starting and stopping."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._client: AvatarClient | None = None
        self._warned = False

    async def on_start(self, ten_env: AsyncTenEnv) -> None:
        """Start the avatar; a graph whose avatar cannot be started goes on without it."""
        text, _ = await ten_env.get_property_to_json("")
        given = json.loads(text or "{}")
        base_url = str(given.get("base_url") or "")
        if not base_url:
            ten_env.log_error("visage_avatar: property base_url is missing; it must be a Visage server's address")
            return
        client = AvatarClient(
            base_url,
            str(given.get("api_key") or ""),
            str(given.get("avatar_id") or ""),
            int(given.get("activity_idle_timeout") or 120),
            lambda watch_url: _tell(ten_env, watch_url),
            lambda message: ten_env.log_warn(f"visage_avatar: {message}"),
        )
        try:
            await client.start()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError, KeyError) as error:  # noqa: UP041
            ten_env.log_error(f"visage_avatar: {base_url} started no avatar: {error or type(error).__name__}")
            return
        self._client = client

    async def on_stop(self, ten_env: AsyncTenEnv) -> None:
        """Stop the avatar."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def on_cmd(self, ten_env: AsyncTenEnv, cmd: Cmd) -> None:
        """`flush` silences the avatar and is passed on; every command is answered."""
        if cmd.get_name() == "flush":
            if self._client is not None:
                self._client.interrupt()
            await ten_env.send_cmd(Cmd.create("flush"))
        await ten_env.return_result(CmdResult.create(StatusCode.OK, cmd))

    async def on_data(self, ten_env: AsyncTenEnv, data: Data) -> None:
        """The end of an utterance, where the voice tells it."""
        if data.get_name() != "tts_audio_end" or self._client is None:
            return
        text, _ = data.get_property_to_json(None)
        if json.loads(text or "{}").get("reason", TTS_COMPLETE) == TTS_COMPLETE:
            self._client.end()

    async def on_audio_frame(self, ten_env: AsyncTenEnv, audio_frame: AudioFrame) -> None:
        """More of an utterance."""
        if self._client is None:
            return
        if audio_frame.get_bytes_per_sample() != BYTES_PER_SAMPLE:
            if not self._warned:
                self._warned = True
                ten_env.log_warn(
                    f"visage_avatar: sound of {audio_frame.get_bytes_per_sample()} bytes a sample is not spoken; "
                    f"it must be {BYTES_PER_SAMPLE}"
                )
            return
        pcm = _mono(bytes(audio_frame.get_buf()), audio_frame.get_number_of_channels())
        step = SAMPLES_PER_MESSAGE * BYTES_PER_SAMPLE
        for begin in range(0, len(pcm), step):
            self._client.speak(pcm[begin : begin + step], audio_frame.get_sample_rate())


async def _tell(ten_env: AsyncTenEnv, watch_url: str) -> None:
    """Where the avatar can be seen."""
    ten_env.log_info(f"visage_avatar: watch at {watch_url}")
    watch = Data.create("visage_watch")
    watch.set_property_string("watch_url", watch_url)
    await ten_env.send_data(watch)


def _mono(data: bytes, channels: Any) -> bytes:
    """The first of interleaved channels."""
    if not isinstance(channels, int) or channels < 2:
        return data
    whole = len(data) // (BYTES_PER_SAMPLE * channels) * BYTES_PER_SAMPLE * channels
    return array.array("h", data[:whole])[::channels].tobytes()
