"""The storage that the configuration names."""

from __future__ import annotations

from pathlib import Path

from config.library import LibrarySettings
from voices.storage.base import Storage
from voices.storage.local import LocalStorage


def build_storage(settings: LibrarySettings, default: Path) -> Storage:
    """The configured storage; `default` is the folder where none is named.

    Raises:
        ConfigError: it cannot be, as configured.
    """
    if settings.storage_type == "s3":
        from voices.storage.s3 import S3Storage

        return S3Storage(settings)
    return LocalStorage(Path(settings.storage_path) if settings.storage_path else default)
