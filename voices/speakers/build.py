"""Builds the speaker model that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from errors import BadRequest
from voices.speakers.base import SpeakerModel
from voices.speakers.local import CampPlus, Resemblyzer
from voices.speakers.placeholder import Placeholder
from voices.speakers.service import SpeakerService

PROVIDERS = ("campplus", "resemblyzer", "http", "placeholder")
_LOCAL: dict[str, Callable[[], CampPlus | Resemblyzer]] = {"campplus": CampPlus, "resemblyzer": Resemblyzer}


class SpeakerSettings(Protocol):
    """What of the configuration the model needs."""

    @property
    def embedding_provider(self) -> str:
        """One of PROVIDERS, or empty: `http` where it has an address, else CAM++, even where its checkpoint is missing.

        Whoever asks it is then told how to get it, and no placeholder is taken for a speaker's vector.
        """
        ...

    @property
    def embedding_service_url(self) -> str:
        """Where `http` is asked."""
        ...

    @property
    def embedding_dimension(self) -> int:
        """Of the vectors of `http` and `placeholder`; the others have their own."""
        ...


def build_speaker_model(settings: SpeakerSettings) -> SpeakerModel:
    """The model that `EMBEDDING_PROVIDER` names; loads nothing yet.

    Raises:
        BadRequest: an unknown provider.
    """
    name = settings.embedding_provider.strip().lower()
    if not name:
        name = "http" if settings.embedding_service_url else "campplus"
    if name == "http":
        return SpeakerService(settings.embedding_service_url, settings.embedding_dimension)
    if name == "placeholder":
        return Placeholder(settings.embedding_dimension)
    if name not in _LOCAL:
        raise BadRequest(f"EMBEDDING_PROVIDER is {name!r}, but must be one of {', '.join(PROVIDERS)}")
    return _LOCAL[name]()
