"""Builds the chain of engines that the configuration names."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from errors import BadRequest
from tts import messages, names
from tts.base import SpeechEngine
from tts.cache import SoundCache
from tts.chain import FIRST_SOUND_TIMEOUT_S, Chain
from tts.remote import RemoteEngine, SpeechProcess
from tts.wire.options import Common, checked

DEFAULT_CHAIN = "edge,hibari,kokoro,espeak"
_ENGINES = {
    "edge": "tts.edge:EdgeEngine",
    "espeak": "tts.espeak:EspeakEngine",
    "hibari": "tts.hibari:HibariEngine",
    "kokoro": "tts.kokoro:KokoroEngine",
}
_APART = {"hibari": "voices", "kokoro": "voices", "espeak": "last resort"}
"""Which process an engine works in: what it loads would hold the event loop for up to a quarter of a second. The last
resort is not in the process of those whose end it must speak for, and starts when it is asked; `edge` only waits for
the network."""
_SERVERS = {
    "azure": "tts.azure:AzureVoice",
    "cosyvoice": "tts.cosyvoice:CosyVoice",
    "cosyvoice-grpc": "tts.cosyvoice:CosyVoiceGrpc",
    "doubao": "tts.doubao:DoubaoVoice",
    "doubao-v3": "tts.doubaov3:DoubaoV3Voice",
    "fish-speech": "tts.fishspeech:FishVoice",
    "gpt-sovits": "tts.gptsovits:SovitsVoice",
    "indextts2": "tts.indextts2:IndexVoice",
    "omnitts": "tts.openai:OmniVoice",
    "openai": "tts.openai:OpenAiVoice",
    "qwen": "tts.qwen:QwenVoice",
    "spark-tts": "tts.sparktts:SparkVoice",
    "stepaudio": "tts.stepaudio:StepAudioVoice",
    "stepfun": "tts.stepfun:StepFunVoice",
    "stepfun-ws": "tts.stepfun:StepFunSocket",
    "tencent": "tts.tencent:TencentVoice",
    "xtts": "tts.xtts:XttsVoice",
}
"""Engines that speak to a server, each a `ServerEngine`."""


class ChainSettings(Protocol):
    """What of the configuration the chain needs."""

    tts: str
    """Engine names by preference, separated by commas."""
    REF_FILE: str | None
    """The default voice, as the first engine understands it: an id, a name, or a recording to imitate."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSettings:
    """What of the configuration only engines with a server need, and what is beside the chain."""

    ref_text: str = ""
    server: str = ""
    """The address for the one engine that has none in `options`."""
    options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """By engine."""
    mode: str = "balanced"
    first_sound_s: float = FIRST_SOUND_TIMEOUT_S
    cache_mb: int = 0
    cache_dir: Path = Path("data/speech_cache")
    keys: Mapping[str, str] | None = None
    """The environment; None: the process's own."""


def build_chain(
    settings: ChainSettings, servers: ServerSettings | None = None, more: Sequence[SpeechEngine] = ()
) -> Chain:
    """The engines that `settings.tts` names, in its order; an engine's file is imported only when it is named.

    Needs no event loop, and starts nothing before the first `warm_up` or clause.

    Args:
        settings: the configuration.
        servers: what of it only engines with a server need, and what is beside the chain.
        more: engines behind those, which it does not name.

    Raises:
        BadRequest: an unknown engine, or none; an option that is unknown or cannot be used.
    """
    told = servers or ServerSettings()
    named = list(dict.fromkeys(map(names.canonical, settings.tts.split(","))))
    for name in named:
        if not names.is_known(name):
            allowed = f"{', '.join(names.ENGINES)} and {names.PLUGIN}NAME"
            raise BadRequest(f"--tts names {name!r}, but must name one or more of {allowed}")
    processes = {name: SpeechProcess() for name in {*_APART.values(), "plugins"}}
    speaks_as = _imitator(named, settings.REF_FILE)
    engines: list[SpeechEngine] = []
    for name in named:
        ref_file = settings.REF_FILE or "" if name == speaks_as else ""
        if name in _SERVERS:
            engines.append(_server_engine(name, named, ref_file, told))
        elif name.startswith(names.PLUGIN):
            options = {"plugin": name.removeprefix(names.PLUGIN), "options": told.options.get(name, {})}
            made = RemoteEngine(processes["plugins"], "tts.livekit:LiveKitEngine", {**options, "ref_file": ref_file})
            engines.append(made)
        else:
            apart = _APART.get(name)
            maker = _ENGINES[name]
            engines.append(RemoteEngine(processes[apart], maker) if apart else messages.engine(maker, {}))
    kept = SoundCache(told.cache_dir, told.cache_mb << 20) if told.cache_mb else None
    voice = _default_voice(engines, speaks_as, settings.REF_FILE)
    return Chain([*engines, *more], voice, first_sound_s=told.first_sound_s, kept=kept)


def _imitator(named: Sequence[str], ref_file: str | None) -> str | None:
    """Whom REF_FILE is meant for: the first engine, where that is one with a server; else it names a voice."""
    ours = bool(ref_file) and (named[0] in _SERVERS or named[0].startswith(names.PLUGIN))
    return named[0] if ours else None


def _default_voice(engines: Sequence[SpeechEngine], speaks_as: str | None, ref_file: str | None) -> str | None:
    if speaks_as is None:
        return ref_file or None
    voices = next(engine for engine in engines if engine.name == speaks_as).voices()
    return voices[0].id if voices else None


def _server_engine(name: str, named: Sequence[str], ref_file: str, told: ServerSettings) -> SpeechEngine:
    module, _, attribute = _SERVERS[name].partition(":")
    kind: Any = getattr(importlib.import_module(module), attribute)
    given = dict(told.options.get(name, {}))
    if "server" not in given and told.server and name in names.SELF_HOSTED:
        mine = [other for other in named if other in names.SELF_HOSTED]
        others = [other for other in mine if other != name and "server" not in told.options.get(other, {})]
        if others:
            raise BadRequest(
                f"tts_server is the address of one engine, but {name} and {others[0]} have none of their own: "
                f'give tts_options, e.g. {{"{name}": {{"server": "http://..."}}}}'
            )
        given["server"] = told.server
    if ref_file:
        given = {"ref_file": ref_file, "ref_text": told.ref_text, **given}
    keys = os.environ if told.keys is None else told.keys
    made: SpeechEngine = kind(checked(kind.Options, name, given), Common(keys, told.mode))
    return made
