"""Builds the speaker model that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from errors import BadRequest
from voices.speakers.base import SpeakerModel
from voices.speakers.local import CampPlus, Resemblyzer
from voices.speakers.placeholder import Placeholder
from voices.speakers.service import SpeakerService

AUTO = "auto"
PROVIDERS = (AUTO, "campplus", "resemblyzer", "service", "placeholder")
_LOCAL: dict[str, Callable[[], CampPlus | Resemblyzer]] = {"campplus": CampPlus, "resemblyzer": Resemblyzer}


class SpeakerSettings(Protocol):
    """What of the configuration the model needs."""

    @property
    def embedding_provider(self) -> str:
        """One of PROVIDERS; empty is AUTO: the service where it has an address, else CAM++, even where its checkpoint
        is missing. Whoever asks it is then told how to get it, and no placeholder is taken for a speaker's vector."""
        ...

    @property
    def embedding_service_url(self) -> str:
        """Where `service` is asked."""
        ...

    @property
    def embedding_dimension(self) -> int | None:
        """None is the provider's own."""
        ...


def build_speaker_model(settings: SpeakerSettings) -> SpeakerModel:
    """The model that `EMBEDDING_PROVIDER` names; loads nothing yet.

    Raises:
        BadRequest: an unknown provider, or a dimension that the model does not have.
    """
    dimension = settings.embedding_dimension
    name = settings.embedding_provider.strip().lower() or AUTO
    if name == AUTO:
        name = "service" if settings.embedding_service_url else "campplus"
    if name == "service":
        return SpeakerService(settings.embedding_service_url, *([dimension] if dimension else []))
    if name == "placeholder":
        return Placeholder(*([dimension] if dimension else []))
    if name not in _LOCAL:
        raise BadRequest(f"EMBEDDING_PROVIDER is {name!r}, but must be one of {', '.join(PROVIDERS)}")
    model = _LOCAL[name]()
    if dimension not in (None, model.id.dimension):
        found = model.id.dimension
        raise BadRequest(f"EMBEDDING_DIMENSION is {dimension}, but vectors of {name} have {found} numbers")
    return model
