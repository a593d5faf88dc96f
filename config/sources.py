"""Reads the configuration: flags, environment, `.env` and `config.yaml`, in that order of precedence.

A key means the same everywhere: `--max_session 3`, `VISAGE_MAX_SESSION=3` and `max_session: 3` are one setting, and
LiveTalking's spellings (`--REF_FILE`, `-l`) are accepted wherever ours are. A key nobody knows is refused by name.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from config.settings import HIDDEN, ConfigError, Settings

ENV_PREFIX = "VISAGE_"


def _field_flags(name: str, field: FieldInfo) -> list[str]:
    extra = field.json_schema_extra
    given = extra.get("flags") if isinstance(extra, dict) else None
    flags = [str(flag) for flag in given] if isinstance(given, list) else []
    return list(dict.fromkeys([*flags, f"--{name}", f"--{name.replace('_', '-')}"]))


def _plain_names() -> dict[str, str]:
    """Names in the environment without our prefix -> their field."""
    found = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        plain = extra.get("env") if isinstance(extra, dict) else None
        if plain:
            found[str(plain)] = name
    return found


def _environment(variables: Mapping[str, str | None], origin: str) -> dict[str, Any]:
    """The settings among variables; one with our prefix goes before one without."""
    ours = _known({key: value for key, value in variables.items() if key.startswith(ENV_PREFIX)}, origin, ENV_PREFIX)
    plain = {name: variables[key] for key, name in _plain_names().items() if variables.get(key)}
    return {**plain, **ours}


def _names() -> dict[str, str]:
    """Every spelling of a key (folded) -> its field."""
    spellings = {}
    for name, field in Settings.model_fields.items():
        for flag in _field_flags(name, field):
            spellings[_fold(flag)] = name
    return spellings


def _fold(key: str) -> str:
    return key.lstrip("-").lower().replace("-", "_")


def _known(raw: Mapping[str, Any], origin: str, prefix: str = "") -> dict[str, Any]:
    """`raw` by field name; refuses a key that is not one."""
    names = _names()
    found = {}
    for key, value in raw.items():
        name = names.get(_fold(str(key).removeprefix(prefix)))
        if name is None:
            near = difflib.get_close_matches(_fold(str(key).removeprefix(prefix)), names, n=1, cutoff=0.5)
            hint = f"; did you mean {_respell(prefix, near[0])}?" if near else ""
            raise ConfigError(f"{origin}: unknown key {key}{hint} (all keys: python app.py --help)")
        found[name] = value
    return found


def _respell(prefix: str, name: str) -> str:
    return f"{prefix}{name.upper()}" if prefix else name


def _from_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold `key: value` lines, not {type(content).__name__}")
    return _known({key: value for key, value in content.items() if value is not None}, str(path))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}")


def parser() -> argparse.ArgumentParser:
    """The flags of `serve`, generated from `Settings`."""
    made = _Parser(
        prog="python app.py",
        usage="python app.py [flags] | doctor | weights list|pull|verify | users add|list|key|remove | "
        "voices migrate|tidy | openapi [--markdown] | config [--example|--markdown]",
        description="Serve the live digital human / 启动实时数字人服务",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    made.add_argument(
        "-c", "--config", metavar="FILE", help="YAML file with the same keys (default: config.yaml if there) / 配置文件"
    )
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        help_text = f"{field.description} / {extra['zh'] if isinstance(extra, dict) else ''}".replace("%", "%%")
        options: dict[str, Any] = {"dest": name, "help": help_text}
        if field.annotation is bool:
            options["action"] = "store_true"
        else:
            options["metavar"] = "VALUE"
        made.add_argument(*_field_flags(name, field), **options)
    return made


def _from_flags(argv: Sequence[str]) -> dict[str, Any]:
    made = parser()
    given, unknown = made.parse_known_args(list(argv))
    if unknown:
        _known({unknown[0].split("=")[0]: None}, "command line")
        raise ConfigError(f"command line: {unknown[0]} is not understood (all flags: python app.py --help)")
    return vars(given)


def load(argv: Sequence[str] = (), *, directory: Path | None = None) -> Settings:
    """Read all sources; flag > environment > `.env` > `config.yaml` > default.

    Raises:
        ConfigError: a key is unknown or a value cannot be used.
    """
    directory = directory or Path.cwd()
    flags = _from_flags(argv)
    named = flags.pop("config", None)
    path = Path(named) if named else directory / "config.yaml"
    if named and not path.is_file():
        raise ConfigError(f"command line: --config {named}: there is no such file")
    sources = [
        ("command line", flags),
        ("environment", _environment(os.environ, "environment")),
        (".env", _environment(dotenv_values(directory / ".env"), ".env")),
        (str(path), _from_yaml(path) if path.is_file() else {}),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in sources:
        for name, value in values.items():
            if name not in merged:
                merged[name], origins[name] = value, origin
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError(_sentence(error, origins)) from error


def export_keys(directory: Path | None = None) -> None:
    """Put the vendors' keys of `.env` (DASHSCOPE_API_KEY, ...) into the environment, where their engines look; what is
    set there already stays.
    """
    for name, value in dotenv_values((directory or Path.cwd()) / ".env").items():
        if value and not name.startswith(ENV_PREFIX):
            os.environ.setdefault(name, value)


def _sentence(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    shown = "(hidden)" if name in HIDDEN else repr(first["input"])
    return f"{origins.get(name, 'default')}: {name} was {shown}: {message[0].lower()}{message[1:]}"


def example() -> str:
    """`config.example.yaml`: every setting, its default, and both descriptions."""
    lines = ["# Visage settings; copy to config.yaml and change. 配置示例：复制为 config.yaml 后修改。", ""]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        default = field.default
        value = ",".join(default) if isinstance(default, tuple) else default
        shown = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
        env = extra.get("env") if isinstance(extra, dict) else ""
        lines += [
            f"# {field.description}",
            f"# {extra['zh'] if isinstance(extra, dict) else ''}",
            *([f"# environment: {ENV_PREFIX}{name.upper()} or {env}"] if env else []),
            f"# {name}: {shown}",
            "",
        ]
    return "\n".join(lines)


def markdown() -> str:
    """`docs/settings.md`: every setting as it is spelled in the environment."""
    lines = [
        "# Settings 配置项",
        "",
        "As environment variables; a flag is `--name`, a key of `config.yaml` is `name`, both in lower case without",
        "`VISAGE_`. Written by `make docs`.",
        "",
        "此表列出环境变量；命令行参数为 `--name`，`config.yaml` 的键为 `name`，均为小写且不含 `VISAGE_`。",
        "",
        "| Variable | Default | |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        names = [f"`{ENV_PREFIX}{name.upper()}`", *([f"`{extra['env']}`"] if extra.get("env") else [])]
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shown = "" if default in ("", None) else f"`{default}`"
        told = f"{field.description}<br>{extra.get('zh', '')}".replace("|", "\\|")
        lines.append(f"| {'<br>'.join(names)} | {shown} | {told} |")
    return "\n".join([*lines, ""])
