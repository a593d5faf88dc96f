"""The sources of voices that this server offers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config import ConfigError, Settings
from errors import BadRequest, Unavailable
from tts.chain import Chain
from voices.cloning.base import VoiceMaker
from voices.speakers.base import SpeakerModel

_MAKERS: Mapping[str, str] = {
    "stepfun": "voices.cloning.stepfun:stepfun_maker",
    "cosyvoice": "voices.cloning.served:cosyvoice_maker",
    "gpt-sovits": "voices.cloning.served:sovits_maker",
    "indextts2": "voices.cloning.served:index_maker",
    "omnitts": "voices.cloning.served:omni_maker",
}
"""Name -> `module:function` that makes it of the settings; a module is imported only when the library opens."""
DESIGNED = "designed"
NAMES = (*_MAKERS, DESIGNED)


class NoMaker(Unavailable):
    """Nothing here can make a voice."""

    code = "no_maker"
    zh = "目前没有可用的音色来源：GET /api/voices/options 说明各来源缺少什么"


class Makers:
    """The sources of voices, the default first.

    Args:
        makers: in the order in which they are offered.
    """

    def __init__(self, makers: Sequence[VoiceMaker]) -> None:
        self.all = tuple(makers)

    def named(self, name: str) -> VoiceMaker | None:
        """The source of that name, usable or not."""
        return next((maker for maker in self.all if maker.name == name), None)

    def choose(self, name: str, model: str) -> tuple[VoiceMaker, str]:
        """The source and its model that a request means; empty names leave it to the server.

        Raises:
            BadRequest: there is no such source or model.
            NoMaker: none that would do can be used now.
        """
        if name and self.named(name) is None:
            known = ", ".join(maker.name for maker in self.all) or "none"
            raise BadRequest(f"maker was {name!r}; there are {known}")
        fitting = [maker for maker in self.all if name in ("", maker.name) and (not model or model in maker.models)]
        if not fitting:
            models = ", ".join(model for maker in self.all if name in ("", maker.name) for model in maker.models)
            if self.all:
                raise BadRequest(f"model was {model!r}; there are {models}")
            raise NoMaker("no source of voices is configured (voice_makers): GET /api/voices/options lists them")
        for maker in fitting:
            if maker.why_not() is None:
                return maker, model or maker.models[0]
        reasons = "; ".join(f"{maker.name}: {maker.why_not()}" for maker in fitting)
        raise NoMaker(f"no source of voices can be used now: {reasons}")

    async def aclose(self) -> None:
        """Free them."""
        for maker in self.all:
            await maker.aclose()


def figures_of(maker: VoiceMaker) -> Mapping[str, float]:
    """What a source of voices tells `/metrics`; nothing where it counts nothing."""
    figures: Callable[[], Mapping[str, float]] = getattr(maker, "figures", dict)
    return figures()


def why_not(maker: VoiceMaker) -> tuple[str, str]:
    """What keeps a source of voices from being used, in English and in Chinese; empty where nothing does."""
    en = maker.why_not() or ""
    chinese: Callable[[], str] = getattr(maker, "why_not_zh", str)
    return en, (chinese() or en) if en else ""


def is_local(maker: VoiceMaker) -> bool:
    """Whether a recording does not leave this machine for it."""
    return bool(getattr(maker, "local", False))


def build_makers(settings: Settings, chain: Chain | None, speakers: SpeakerModel | None) -> Makers:
    """Those that `voice_makers` names, else all there are, cloning ones first.

    Args:
        settings: the configuration.
        chain: the sessions' speech engines; Kokoro among them speaks designed voices too, so that it is loaded once.
        speakers: what tells speakers apart; CAM++ hears recordings for designed voices too.

    Raises:
        ConfigError: one of them is unknown.
    """
    for name in settings.voice_makers:
        if name not in NAMES:
            raise ConfigError(f"voice_makers names {name!r}; there are {', '.join(NAMES)}")

    def make(name: str) -> VoiceMaker:
        if name == DESIGNED:
            return _designed(settings, chain, speakers)
        module, _, function = _MAKERS[name].partition(":")
        made: VoiceMaker = getattr(importlib.import_module(module), function)(settings)
        return made

    made = [make(name) for name in settings.voice_makers or NAMES]
    if not settings.voice_makers:
        made.sort(key=lambda maker: not maker.clones)
    return Makers(made)


def _designed(settings: Settings, chain: Chain | None, speakers: SpeakerModel | None) -> VoiceMaker:
    from voices.cloning.designed import DesignedMaker, designed_maker
    from voices.speakers.local import CampPlus

    kokoro: Any = next((engine for engine in chain.engines if engine.name == "kokoro"), None) if chain else None
    if kokoro is not None and isinstance(speakers, CampPlus):
        return DesignedMaker(kokoro, speakers)
    return designed_maker(settings, kokoro)
