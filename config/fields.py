"""What settings are declared with."""

from __future__ import annotations

from typing import Annotated, Any

import yaml  # type: ignore[import-untyped]
from pydantic import BeforeValidator, Field


def split(value: object) -> object:
    """`"a, b"` -> `("a", "b")`; lists pass through."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def mapping(value: object) -> object:
    """`"{a: {b: 1}}"`, YAML or JSON, -> `{"a": {"b": 1}}`; mappings pass through."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value) or {}
    except yaml.YAMLError as error:
        raise ValueError("must be written as YAML or JSON, e.g. {engine: {option: value}}") from error


Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Options = Annotated[dict[str, dict[str, Any]], BeforeValidator(mapping)]


def setting(default: Any, en: str, zh: str, *flags: str, env: str = "", **limits: Any) -> Any:
    """A field with its description in both languages and, where they differ from its name, its flags.

    Args:
        env: a name in the environment that is taken besides the one with our prefix.
    """
    return Field(default, description=en, json_schema_extra={"zh": zh, "flags": list(flags), "env": env}, **limits)
