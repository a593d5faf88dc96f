"""`Settings`: everything that can be configured, with its limits and its description in both languages."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.conversation import ConversationSettings
from config.library import LibrarySettings
from config.lips import LipSettings
from config.serving import ServingSettings
from config.speech import SpeechSettings
from errors import VisageError

SECRETS = (
    "api_key",
    "llm_api_key",
    "asr_api_key",
    "turn",
    "database_url",
    "redis_url",
    "storage_access_key",
    "storage_secret_key",
    "sentry_dsn",
)
"""Settings never shown; `public` says only whether they are set."""
HIDDEN = (*SECRETS, "tts_options", "tts_server")
"""Settings whose refused values are not repeated: someone may have written a key into them."""


class ConfigError(VisageError):
    """A setting is unknown or has a value that cannot be used. The message names it and says what is allowed."""

    status = 500


# pydantic lists the fields of the last base first: so they stand in --help and in config.example.yaml.
class Settings(LibrarySettings, ServingSettings, ConversationSettings, SpeechSettings, LipSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(extra="forbid", validate_default=True, frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`sources.load` reads the sources, so that an error can name the one it came from."""
        return (init_settings,)

    def public(self) -> dict[str, Any]:
        """The settings without their secrets, JSON-ready."""
        shown = self.model_dump(mode="json")
        for name in SECRETS:
            shown[name] = bool(shown[name])
        return shown
