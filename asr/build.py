"""Builds the chain of recognisers that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from asr.base import LANGUAGES, RecognitionEngine
from asr.chain import RecogniserChain
from asr.funasr import FunAsrRecogniser
from asr.openai import OpenAiRecogniser
from asr.remote import RemoteRecogniser
from errors import BadRequest
from tts.remote import SpeechProcess

DEFAULT_CHAIN = ("whisper-large-v3-turbo", "whisper-base")
ENGINES = ("whisper-base", "whisper-large-v3-turbo", "openai", "funasr")
_WHISPER = "asr.whisper:WhisperRecogniser"
_LARGE_BEAM = 5


class RecognitionSettings(Protocol):
    """What of the configuration the chain needs."""

    @property
    def asr(self) -> Sequence[str]:
        """Names of ENGINES by preference; one whose weights are missing is passed over."""
        ...

    @property
    def asr_base_url(self) -> str:
        """Of the server behind `openai`, up to and with `/v1`."""
        ...

    @property
    def asr_api_key(self) -> str:
        """Its key; empty where it wants none."""
        ...

    @property
    def asr_model(self) -> str:
        """Its model."""
        ...

    @property
    def asr_server(self) -> str:
        """WebSocket address of the server behind `funasr`."""
        ...

    @property
    def asr_threads(self) -> int:
        """Of the processor, for a local recogniser: 1 or 2."""
        ...

    @property
    def asr_beam(self) -> int:
        """Of whisper-base, 1..10; the large one always has 5."""
        ...

    @property
    def asr_window(self) -> str:
        """`short`, or `whole` for the last point of accuracy at four times the work."""
        ...


def build_recognisers(settings: RecognitionSettings, languages: Sequence[str] = LANGUAGES) -> RecogniserChain:
    """The engines that `settings.asr` names, in its order; each local one in a process of its own.

    Needs no event loop, and starts nothing before the first `warm_up` or utterance. Two local ones do not share a
    process: the smaller must answer when the larger ends, and captions must not wait for it.

    Args:
        languages: BCP 47 primary tags that are told apart when an utterance comes without one.

    Raises:
        BadRequest: an unknown engine, none, or one whose address is missing.
    """
    makers: dict[str, Callable[[], RecognitionEngine]] = {
        "whisper-base": lambda: _whisper("base", settings.asr_beam, settings, languages),
        "whisper-large-v3-turbo": lambda: _whisper("large-v3-turbo", _LARGE_BEAM, settings, languages),
        "openai": lambda: OpenAiRecogniser(
            _needed(settings.asr_base_url, "openai", "asr_base_url"), settings.asr_model, settings.asr_api_key
        ),
        "funasr": lambda: FunAsrRecogniser(_needed(settings.asr_server, "funasr", "asr_server")),
    }
    names = list(dict.fromkeys(name.strip().lower() for name in settings.asr))
    unknown = [name for name in names if name not in makers]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "nothing"
        raise BadRequest(f"--asr names {found}, but must name one or more of {', '.join(ENGINES)}")
    return RecogniserChain([makers[name]() for name in names])


def _whisper(model: str, beam: int, settings: RecognitionSettings, languages: Sequence[str]) -> RemoteRecogniser:
    options = {
        "model": model,
        "beam": beam,
        "window": settings.asr_window,
        "threads": settings.asr_threads,
        "languages": list(languages),
    }
    return RemoteRecogniser(SpeechProcess(), _WHISPER, options)


def _needed(value: str, engine: str, setting: str) -> str:
    if not value:
        raise BadRequest(f"--asr names {engine}, which needs {setting}, but that is empty")
    return value
