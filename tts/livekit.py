"""livekit:NAME: any speech plugin of LiveKit Agents, so that whatever that ecosystem keeps up can speak here.

`--tts livekit:cartesia` needs `pip install livekit-plugins-cartesia` and the plugin's own key in the environment. It
works in the speech process: importing it takes more than a second.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import logging
import re
import sys
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import numpy as np

from errors import EngineError
from tts.base import Sound, Voice, Word
from tts.breaker import BACKOFF_MAX_S
from tts.wire.engine import WIDE, Lack
from tts.wire.refusals import by_status

PREFIX = "livekit:"
SAMPLE_RATE_HZ = 24_000
"""Before the plugin says its own; every sound does."""
CONNECT_TIMEOUT_S = 5.0
PLUGINS_MAX = 16
"""One for every voice and language; the one used longest ago is closed."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VOICE = re.compile(r"[\w\-.: ]{1,100}")
_VOICE_ARGUMENTS = ("voice", "voice_id", "speaker", "reference_id")
"""What plugins call it."""
DEFAULT_VOICE = "default"
"""The plugin's own."""


class LiveKitEngine:
    """One plugin.

    Args:
        plugin: the last part of its name, `livekit.plugins.NAME`.
        options: arguments of the plugin's `TTS`, and `languages`, `at_once` and `timeout_s` as of any engine.
        ref_file: the voice; empty for the plugin's own.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    tells_words = False

    def __init__(self, plugin: str, options: Mapping[str, Any] | None = None, ref_file: str = "") -> None:
        self.name = f"{PREFIX}{plugin}"
        self._plugin = plugin
        given = dict(options or {})
        spoken = given.pop("languages", WIDE)
        self._languages = tuple(spoken.split(",") if isinstance(spoken, str) else spoken)
        self.at_once = int(given.pop("at_once", 2))
        self.patience_s = float(given.pop("timeout_s", 10.0))
        self._own_voice = str(given.pop("ref_file", "") or ref_file or DEFAULT_VOICE)
        self._arguments = given
        self.variant = json.dumps(given, sort_keys=True, default=str)
        self._made: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    def voices(self) -> tuple[Voice, ...]:
        """The configured one; plugins list none."""
        return () if self.lack() else (self._voice(self._own_voice),)

    def find_voice(self, name: str) -> Voice | None:
        """Any voice of the plugin's vendor, by the name `livekit:PLUGIN:VOICE`."""
        bare = name.removeprefix(f"{self.name}:")
        known = bare != name and _VOICE.fullmatch(bare) and not self.lack()
        return self._voice(bare) if known else None

    def why_not(self) -> str | None:
        """None where the plugin is installed; whether its key is there only making it tells."""
        lack = self.lack()
        return f"{self.name}: {lack.en}" if lack else None

    def lack(self) -> Lack | None:
        """What is missing, in both languages."""
        return _lack(self._plugin)

    async def warm_up(self) -> None:
        """Import the plugin and make it."""
        made = await self._tts(self._own_voice, self._languages[0])
        made.prewarm()

    async def speak(self, clause: str, voice: Voice, language: str) -> AsyncGenerator[Sound, None]:
        """The clause as the plugin gives it: over its stream where it has one, with its words where it tells them."""
        if not any(map(str.isalnum, clause)):
            return
        made = await self._tts(voice.id.removeprefix(f"{self.name}:"), language)
        from livekit.agents import APIConnectOptions, APIError
        from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT

        once = APIConnectOptions(max_retry=0, timeout=CONNECT_TIMEOUT_S)
        try:
            if made.capabilities.streaming:
                stream = made.stream(conn_options=once)
                stream.push_text(clause)
                stream.end_input()
            else:
                stream = made.synthesize(clause, conn_options=once)
            try:
                async for audio in stream:
                    told = audio.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT) or ()
                    yield Sound(_samples(audio.frame), _words(told), audio.frame.sample_rate)
            finally:
                await stream.aclose()
                await _hang_up(made)
        except APIError as error:
            raise self._refusal(error) from error

    async def aclose(self) -> None:
        """Close what was made."""
        for made in self._made.values():
            await made.aclose()
        self._made.clear()
        if self._session is not None:
            await self._session.close()

    def _voice(self, name: str) -> Voice:
        return Voice(f"{self.name}:{name}", self.name, self._languages, "neutral", "LicenseRef-as-the-server-says")

    async def _tts(self, voice: str, language: str) -> Any:
        """The plugin's object for a voice and a language."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
            logging.getLogger("livekit").setLevel(logging.ERROR)
        if (voice, language) not in self._made:
            self._made[voice, language] = self._make(voice, language)
        self._made.move_to_end((voice, language))
        if len(self._made) > PLUGINS_MAX:
            _, oldest = self._made.popitem(last=False)
            await oldest.aclose()
        return self._made[voice, language]

    def _make(self, voice: str, language: str) -> Any:
        maker = importlib.import_module(f"livekit.plugins.{self._plugin}").TTS
        taken = inspect.signature(maker.__init__).parameters
        arguments = dict(self._arguments)
        if "http_session" in taken:
            arguments["http_session"] = self._session
        if "language" in taken:
            arguments.setdefault("language", language)
        named = next((name for name in _VOICE_ARGUMENTS if name in taken), None)
        if voice != DEFAULT_VOICE and named:
            arguments[named] = voice
        try:
            return maker(**arguments)
        except (TypeError, ValueError) as error:  # an argument it does not know, or a key that is not there
            raise EngineError(self.name, str(error), retry_after_s=BACKOFF_MAX_S) from error

    def _refusal(self, error: Any) -> EngineError:
        status = getattr(error, "status_code", 0)
        said = " ".join(str(error).split())[:200]
        if status in (400, 401, 403, 404, 413, 422, 429):
            return by_status(self.name, "its server", status, said, key_hint="its key in the environment")
        return EngineError(self.name, said or type(error).__name__)


@functools.cache
def _lack(plugin: str) -> Lack | None:
    if not _NAME.fullmatch(plugin):
        return Lack(f"{plugin!r} is no name of a plugin", f"{plugin!r} 不是插件名", "--tts livekit:…")
    try:
        found = importlib.util.find_spec(f"livekit.plugins.{plugin}")
    except ModuleNotFoundError:
        found = None
    if found is not None:
        return None
    package = f"livekit-plugins-{plugin.replace('_', '-')}"
    fix = f"{sys.executable} -m pip install {package}"
    return Lack(f"the package {package} is not installed", f"未安装 {package} 软件包", fix)


async def _hang_up(made: Any) -> None:
    """Close the connections that a plugin gave up: livekit-agents 1.8 keeps them, and what comes on them, until it is
    asked for the next clause.
    """
    drain = getattr(getattr(made, "_pool", None), "_drain_to_close", None)
    if drain is not None:
        await drain()


def _samples(frame: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Mono float32."""
    pcm = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    return np.asarray(pcm.mean(axis=1) / 32768, np.float32)


def _words(told: Any) -> tuple[Word, ...]:
    """Those whose times are told."""
    words = []
    for one in told if isinstance(told, list | tuple) else [told]:
        times = one.start_time, one.end_time
        if str(one).strip() and all(isinstance(time, int | float) for time in times):
            words.append(Word(str(one).strip(), float(times[0]), float(times[1])))
    return tuple(words)
