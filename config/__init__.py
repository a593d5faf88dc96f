"""Everything that can be configured: `Settings`, read from flags, environment and files by `config.sources`."""

from config.settings import HIDDEN, SECRETS, ConfigError, Settings

__all__ = ["HIDDEN", "SECRETS", "ConfigError", "Settings"]
