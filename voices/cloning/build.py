"""The sources of voices that this server offers."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence

from config import ConfigError, Settings
from errors import BadRequest, Unavailable
from voices.cloning.base import VoiceMaker

_MAKERS: Mapping[str, str] = {}
"""Name -> `module:function` that makes it of the settings; a module is imported only when the library opens."""

log = logging.getLogger(__name__)


class NoMaker(Unavailable):
    """Nothing here can make a voice."""

    code = "no_maker"
    zh = "没有可用的音色来源：请设置 STEP_API_KEY，或安装本地引擎；GET /api/voices/options 说明原因"


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
            raise NoMaker("no source of voices is configured: set STEP_API_KEY, or install a local engine")
        for maker in fitting:
            if maker.why_not() is None:
                return maker, model or maker.models[0]
        reasons = "; ".join(f"{maker.name}: {maker.why_not()}" for maker in fitting)
        raise NoMaker(f"no source of voices can be used now: {reasons}")

    async def aclose(self) -> None:
        """Free them."""
        for maker in self.all:
            await maker.aclose()


def build_makers(settings: Settings) -> Makers:
    """Those that `voice_makers` names, else all there are, cloning ones first.

    Raises:
        ConfigError: one of them is unknown.
    """
    for name in settings.voice_makers:
        if name not in _MAKERS:
            known = ", ".join(_MAKERS) or "none in this build"
            raise ConfigError(f"voice_makers names {name!r}; there are {known}")
    made = [_make(_MAKERS[name], settings) for name in settings.voice_makers or _MAKERS]
    if not settings.voice_makers:
        made.sort(key=lambda maker: not maker.clones)
    return Makers(made)


def _make(path: str, settings: Settings) -> VoiceMaker:
    module, _, function = path.partition(":")
    made: VoiceMaker = getattr(importlib.import_module(module), function)(settings)
    return made
