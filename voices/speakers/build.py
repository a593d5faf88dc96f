"""Builds the speaker model that the configuration names."""

from __future__ import annotations

from collections.abc import Callable

from errors import BadRequest
from voices.speakers.base import SpeakerModel
from voices.speakers.local import CampPlus, Resemblyzer
from voices.speakers.placeholder import Placeholder
from voices.speakers.service import SpeakerService

AUTO = "auto"
PROVIDERS = (AUTO, "campplus", "resemblyzer", "service", "placeholder")
_LOCAL: dict[str, Callable[[], CampPlus | Resemblyzer]] = {"campplus": CampPlus, "resemblyzer": Resemblyzer}


def build_speaker_model(provider: str = AUTO, service_url: str = "", dimension: int | None = None) -> SpeakerModel:
    """The model that `EMBEDDING_PROVIDER` names.

    Args:
        provider: one of PROVIDERS. `auto` is the service where it has an address, else CAM++, even where its checkpoint
            is missing: whoever asks it is told how to get it, and no placeholder is taken for a speaker's vector.
        service_url: `EMBEDDING_SERVICE_URL`.
        dimension: `EMBEDDING_DIMENSION`; None is the provider's own.

    Raises:
        BadRequest: an unknown provider, or a dimension that the model does not have.
    """
    name = provider.strip().lower()
    if name == AUTO:
        name = "service" if service_url else "campplus"
    if name == "service":
        return SpeakerService(service_url, *([dimension] if dimension else []))
    if name == "placeholder":
        return Placeholder(*([dimension] if dimension else []))
    if name not in _LOCAL:
        raise BadRequest(f"EMBEDDING_PROVIDER is {provider!r}, but must be one of {', '.join(PROVIDERS)}")
    model = _LOCAL[name]()
    if dimension not in (None, model.id.dimension):
        found = model.id.dimension
        raise BadRequest(f"EMBEDDING_DIMENSION is {dimension}, but vectors of {name} have {found} numbers")
    return model
