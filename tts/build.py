"""Builds the chain of engines that the configuration names."""

from __future__ import annotations

from typing import Protocol

from errors import BadRequest
from tts import messages
from tts.base import SpeechEngine
from tts.chain import Chain
from tts.remote import RemoteEngine, SpeechProcess

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
_ALIASES = {"edgetts": "edge", "edge-tts": "edge", "espeak-ng": "espeak"}


class ChainSettings(Protocol):
    """What of the configuration the chain needs."""

    tts: str
    """Engine names by preference, separated by commas."""
    REF_FILE: str | None
    """Id of the default voice."""


def build_chain(settings: ChainSettings) -> Chain:
    """The engines that `settings.tts` names, in its order; an engine's file is imported only when it is named.

    Needs no event loop, and starts nothing before the first `warm_up` or clause.

    Raises:
        BadRequest: an unknown engine, or none.
    """
    engines: list[SpeechEngine] = []
    processes = {name: SpeechProcess() for name in set(_APART.values())}
    for given in settings.tts.split(","):
        name = given.strip().lower()
        name = _ALIASES.get(name, name)
        if name not in _ENGINES:
            raise BadRequest(f"--tts names {given.strip()!r}, but must name one or more of {', '.join(_ENGINES)}")
        if name not in (engine.name for engine in engines):
            maker = _ENGINES[name]
            apart = _APART.get(name)
            engines.append(RemoteEngine(processes[apart], maker) if apart else messages.engine(maker, {}))
    return Chain(engines, settings.REF_FILE or None)
