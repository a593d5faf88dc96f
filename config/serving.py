"""`ServingSettings`: who may connect, from where, how much, and what is told of it."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal, Self

from pydantic import field_validator, model_validator
from pydantic_settings import BaseSettings

from config.fields import Words, setting


class ServingSettings(BaseSettings):
    """The server, its clients and its log."""

    max_session: int = setting(
        5, "Sessions at once; one more is answered 503", "同时会话数上限，超出返回 503", ge=1, le=1000
    )
    listenport: int = setting(8010, "HTTP port; 0 picks a free one", "HTTP 端口；0 为任选空闲端口", ge=0, le=65535)
    host: str = setting(
        "127.0.0.1",
        "Address to listen on; off loopback needs --api-key or --insecure",
        "监听地址；非本机地址需 --api-key 或 --insecure",
    )
    api_key: str = setting("", "Key every API request must carry", "所有接口请求必须携带的密钥")
    insecure: bool = setting(False, "Listen off loopback without a key", "允许无密钥监听非本机地址")
    cors_origins: Words = setting(
        (), "Other origins whose pages may call the API, comma separated", "允许跨域调用的来源，逗号分隔"
    )
    public_address: str = setting(
        "", "Address browsers reach this machine at, when behind NAT", "NAT 之后浏览器可达的公网地址"
    )
    udp_ports: str = setting(
        "",
        "UDP ports for media, e.g. 40000-40100; empty: any",
        "媒体 UDP 端口范围，如 40000-40100；留空任意",
        pattern=r"^(\d{1,5}-\d{1,5})?$",
    )
    turn: str = setting(
        "",
        "TURN server given to the page: turn:user:password@host:port, or turns: for TLS",
        "提供给网页的 TURN 服务：turn:用户:密码@主机:端口，TLS 用 turns:",
    )
    video_bitrate: int = setting(
        2_000_000, "Ceiling of the picture, bits per second", "视频码率上限，比特每秒", ge=100_000, le=50_000_000
    )
    max_upload_mb: int = setting(
        50, "Largest recording POST /humanaudio takes, MiB", "POST /humanaudio 接收的录音上限，MiB", ge=1, le=1024
    )
    max_audio_s: int = setting(
        600,
        "Longest recording POST /humanaudio takes, seconds",
        "POST /humanaudio 接收的录音时长上限，秒",
        ge=1,
        le=7200,
    )
    max_clip_mb: int = setting(
        500,
        "Largest clip POST /api/avatar/task takes, MiB",
        "POST /api/avatar/task 接收的视频上限，MiB",
        ge=1,
        le=16_384,
    )
    record_days: float = setting(
        30, "Recordings older than so many days are deleted; 0: never", "录像保留天数，超过则删除；0 为不删除", ge=0
    )
    record_gib: float = setting(
        20,
        "Recordings may take so many GiB together, then the oldest are deleted; 0: no limit",
        "录像总大小上限，GiB，超过则删除最旧的；0 为不限",
        ge=0,
    )
    notify_origins: Words = setting(
        (),
        "Origins that may be told of an avatar's progress (notifyurl), comma separated; empty: none",
        "允许接收形象制作进度通知（notifyurl）的来源，逗号分隔；留空则都不通知",
    )
    connect_timeout_s: float = setting(
        15, "A session that has not connected by then is closed, seconds", "会话未建立连接的关闭时限，秒", gt=0
    )
    idle_timeout_s: float = setting(
        1_800, "A session unused for so long is closed, seconds; 0: never", "空闲会话关闭时限，秒；0 为不关闭", ge=0
    )
    drain_s: float = setting(
        10, "On SIGTERM, how long speech may still run, seconds", "收到 SIGTERM 后允许说完的时间，秒", ge=0
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "How much is logged: debug, info, warning, error", "日志级别：debug、info、warning、error"
    )
    log_format: Literal["text", "json"] = setting(
        "text", "Lines of the log: text, or json for machines", "日志格式：text，或供程序读取的 json"
    )
    sentry_dsn: str = setting(
        "",
        "Where errors of the server are told, https://KEY@HOST/PROJECT of Sentry or what speaks its protocol: their "
        "place in the code, nothing that visitors said; empty: nowhere",
        "错误上报地址：Sentry 或兼容服务的 https://KEY@HOST/PROJECT；只上报代码位置，不含访客内容；留空则不上报",
        env="SENTRY_DSN",
        pattern=r"^(https?://[^\s@/]+@[^\s@/]+/\S+)?$",
    )

    @field_validator("udp_ports")
    @classmethod
    def _ordered_ports(cls, value: str) -> str:
        if value:
            low, high = (int(port) for port in value.split("-"))
            if not 1024 <= low <= high <= 65535:
                raise ValueError("must be LOW-HIGH with 1024 <= LOW <= HIGH <= 65535")
        return value

    @field_validator("public_address")
    @classmethod
    def _ip_address(cls, value: str) -> str:
        if value:
            try:
                ipaddress.ip_address(value)
            except ValueError as error:
                raise ValueError("must be an IP address: names do not belong into ICE candidates") from error
        return value

    @field_validator("turn")
    @classmethod
    def _relay(cls, value: str) -> str:
        if value and not re.fullmatch(r"(turns?:[^:@\s]+:\S+@|stun:)[^@\s]+", value):
            raise ValueError("must be turn:USER:PASSWORD@HOST:PORT (or turns:..., or stun:HOST:PORT)")
        return value

    @field_validator("cors_origins", "notify_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError(f"{origin!r} is not an origin; write scheme://host[:port], one by one (no *)")
        return value

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if not self.on_loopback and not self.api_key and not self.insecure:
            raise ValueError(
                f"host {self.host} is reachable from other machines: give --api-key KEY, "
                "or --insecure if all of them may use it"
            )
        return self

    @property
    def on_loopback(self) -> bool:
        """True when only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def udp_range(self) -> tuple[int, int] | None:
        """`udp_ports` as numbers, or None for any."""
        if not self.udp_ports:
            return None
        low, high = self.udp_ports.split("-")
        return int(low), int(high)
