"""The voices that the configuration asks for: the chain of speech engines, and how much is spoken at a time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config import ConfigError, Settings
from errors import BadRequest
from listening.settings import MODES
from text.clauses import Pace
from tts import names
from tts.base import SpeechEngine
from tts.build import ServerSettings, build_chain
from tts.chain import Chain
from tts.library import PREFIX
from tts.stepfun import StepFunGuest
from tts.wire.options import Common, checked

CACHE = Path(__file__).parent.parent / "data" / "speech_cache"


@dataclasses.dataclass(slots=True)
class _Named:
    """What `build_chain` reads."""

    tts: str
    REF_FILE: str | None


def make_chain(settings: Settings, more: Sequence[SpeechEngine] = ()) -> Chain:
    """The engines of `settings.tts`, and behind them those that no configuration names.

    Raises:
        ConfigError: one of `tts_options` is unknown or cannot be used.
    """
    servers = ServerSettings(
        ref_text=settings.ref_text,
        server=settings.tts_server,
        options=settings.tts_options,
        mode=settings.performance_mode,
        first_sound_s=settings.tts_timeout_s,
        cache_mb=settings.tts_cache_mb,
        cache_dir=CACHE,
    )
    try:
        return build_chain(_Named(",".join(settings.tts), settings.ref_file or None), servers, more)
    except BadRequest as error:
        raise ConfigError(str(error)) from error


def guests(settings: Settings) -> list[SpeechEngine]:
    """StepFun's own voices, where the voice library may clone with it and the chain does not speak with it anyway.

    Raises:
        ConfigError: one of its options is unknown or cannot be used.
    """
    named = {names.canonical(name) for name in settings.tts}
    wanted = settings.library == "on" and StepFunGuest.name in (settings.voice_makers or (StepFunGuest.name,))
    if not wanted or named & {"stepfun", "stepfun-ws"}:
        return []
    try:
        options = checked(StepFunGuest.Options, StepFunGuest.name, settings.tts_options.get(StepFunGuest.name, {}))
    except BadRequest as error:
        raise ConfigError(str(error)) from error
    engine: Any = StepFunGuest(options, Common(os.environ, settings.performance_mode))
    return [] if engine.lack() else [engine]


def make_pace(settings: Settings) -> Pace:
    """How much is gathered before it is spoken."""
    mode = MODES[settings.performance_mode]
    return Pace(
        mode.first_clause_words,
        mode.first_clause_characters,
        settings.split_clauses or mode.group_clauses,
        settings.split_characters,
    )


def why_no_voice(settings: Settings, chain: Chain) -> str | None:
    """None when the default voice can speak or may turn out to; else why `--REF_FILE` names nobody."""
    name = settings.ref_file
    if not name or chain.default_voice is not None:
        return None
    if "edge" in settings.tts or (name.startswith(PREFIX) and settings.library == "on"):  # they learn theirs later
        return None
    first = chain.engines[0]
    if reason := first.why_not():
        return f"REF_FILE {name!r}: {reason}"
    some = ", ".join(voice.id for voice in chain.voices()[:5]) or "none: see python app.py doctor"
    return f"REF_FILE {name!r} is no voice of {', '.join(settings.tts)}; there are {some}"
