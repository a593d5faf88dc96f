"""`Lips`: what a house needs of the lip engine that `--model` names."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable

from actions import Action
from avatar import Avatar
from basereal import BaseReal
from config import Settings
from engines.base import LipEngine
from engines.scheduler import Scheduler
from errors import Unavailable
from ttsreal import BaseTTS
from weights.manifest import MODELS

MUSETALK_PACKAGES = ("torch", "diffusers", "whisper")
"""What only `make musetalk` installs."""
PROCESSES = 2
"""That an avatar is loaded in where the engine has one of its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lips:
    """One kind of lip engine.

    Attributes:
        name: key of `engines` in an avatar's card.
        engine: makes the engine; blocks while weights are loaded.
        real: makes a session: id, avatar, scheduler, voice, custom actions.
        processes: how many hold an avatar's pictures: 2 where the engine has a process of its own.
    """

    name: str
    engine: Callable[[], LipEngine]
    real: Callable[[str, Avatar, Scheduler, BaseTTS, dict[int, Action]], BaseReal]
    processes: int = 1


def make_lips(settings: Settings) -> Lips:
    """The engine that `settings.model` names; nothing is loaded yet."""
    return _musetalk(settings) if settings.model == "musetalk" else _lite(settings)


def _lite(settings: Settings) -> Lips:
    from litereal import LiteEngine, LiteReal

    def real(name: str, avatar: Avatar, scheduler: Scheduler, tts: BaseTTS, actions: dict[int, Action]) -> LiteReal:
        left, right = settings.context_left, settings.context_right
        return LiteReal(name, avatar, scheduler, tts, left=left, right=right, actions=actions)

    return Lips("lite", lambda: LiteEngine(settings.batch_size), real)


def _musetalk(settings: Settings) -> Lips:
    from engines.remote import RemoteEngine
    from museasr import MuseASR
    from musereal import MuseReal

    left, step, right = settings.context_left, settings.context_middle, settings.context_right
    arguments = {
        "weights": settings.musetalk_weights,
        "models": str(MODELS),
        "device": settings.device,
        "precision": settings.precision,
        "decoder": settings.musetalk_decoder,
        "max_batch": settings.batch_size,
        "left": MuseASR(left, right, step).left,
    }

    def real(name: str, avatar: Avatar, scheduler: Scheduler, tts: BaseTTS, actions: dict[int, Action]) -> MuseReal:
        return MuseReal(name, avatar, scheduler, tts, left=left, step=step, right=right, actions=actions)

    def engine() -> RemoteEngine:
        missing = [name for name in MUSETALK_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise Unavailable(f"--model musetalk needs {', '.join(missing)}: run `make musetalk`")
        memory_mib = settings.avatar_memory // PROCESSES
        remote = RemoteEngine("musereal:MuseEngine", arguments, memory_mib=memory_mib)
        remote.start()
        return remote

    return Lips("musetalk", engine, real, PROCESSES)
