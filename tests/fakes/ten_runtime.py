"""As much of TEN's Python runtime as our extension touches, in the shapes of ten_runtime 0.11."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Any

ADDONS: dict[str, type[Addon]] = {}


class StatusCode(enum.IntEnum):
    OK = 0
    ERROR = 1


class Message:
    def __init__(self, name: str) -> None:
        self.name = name
        self.properties: dict[str, Any] = {}

    @classmethod
    def create(cls, name: str) -> Any:
        return cls(name)

    def get_name(self) -> str:
        return self.name

    def set_property_string(self, path: str, value: str) -> None:
        self.properties[path] = value

    def get_property_to_json(self, path: str | None = None) -> tuple[str, None]:
        return json.dumps(self.properties), None


class Cmd(Message): ...


class Data(Message): ...


class AudioFrame(Message):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.buffer = bytearray()
        self.rate_hz, self.channels, self.width = 16_000, 1, 2

    @classmethod
    def of(cls, pcm: bytes, rate_hz: int = 16_000, channels: int = 1, width: int = 2) -> AudioFrame:
        frame = cls("pcm_frame")
        frame.buffer, frame.rate_hz, frame.channels, frame.width = bytearray(pcm), rate_hz, channels, width
        return frame

    def get_buf(self) -> bytearray:
        return self.buffer

    def get_sample_rate(self) -> int:
        return self.rate_hz

    def get_number_of_channels(self) -> int:
        return self.channels

    def get_bytes_per_sample(self) -> int:
        return self.width


class CmdResult:
    def __init__(self, status: StatusCode, cmd: Cmd) -> None:
        self.status, self.cmd = status, cmd

    @classmethod
    def create(cls, status: StatusCode, cmd: Cmd) -> CmdResult:
        return cls(status, cmd)


class AsyncTenEnv:
    """Remembers what an extension did with it."""

    def __init__(self, **properties: Any) -> None:
        self.properties = properties
        self.cmds: list[Cmd] = []
        self.results: list[CmdResult] = []
        self.data: list[Data] = []
        self.logs: list[str] = []

    async def get_property_to_json(self, path: str = "") -> tuple[str, None]:
        return json.dumps(self.properties), None

    async def send_cmd(self, cmd: Cmd) -> None:
        self.cmds.append(cmd)

    async def send_data(self, data: Data) -> None:
        self.data.append(data)

    async def return_result(self, result: CmdResult) -> None:
        self.results.append(result)

    def log_info(self, text: str) -> None:
        self.logs.append(f"info: {text}")

    def log_warn(self, text: str) -> None:
        self.logs.append(f"warn: {text}")

    def log_error(self, text: str) -> None:
        self.logs.append(f"error: {text}")


class AsyncExtension:
    def __init__(self, name: str) -> None:
        self.name = name


class TenEnv:
    def __init__(self) -> None:
        self.made: list[AsyncExtension] = []

    def on_create_instance_done(self, instance: AsyncExtension, context: Any) -> None:
        self.made.append(instance)


class Addon:
    def on_create_instance(self, ten_env: TenEnv, name: str, context: Any) -> None:
        raise NotImplementedError


def register_addon_as_extension(name: str) -> Callable[[type[Addon]], type[Addon]]:
    def register(addon: type[Addon]) -> type[Addon]:
        ADDONS[name] = addon
        return addon

    return register
