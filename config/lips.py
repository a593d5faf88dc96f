"""`LipSettings`: who is shown, and how her lips are drawn."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator, model_validator
from pydantic_settings import BaseSettings

from config.fields import setting

MODELS = ("lite", "musetalk", "testcard")
"""Values of `--model` this build can run."""
ENGINE_DEFAULTS: dict[str, dict[str, int]] = {
    "lite": {"batch_size": 4, "context_left": 14, "context_middle": 2, "context_right": 6},
    "musetalk": {"batch_size": 16, "context_left": 100, "context_middle": 8, "context_right": 6},
    "testcard": {"batch_size": 1, "context_left": 0, "context_middle": 2, "context_right": 0},
}
"""By model: the settings that stay empty until an engine is chosen, and are then what it works best with."""


class LipSettings(BaseSettings):
    """The lip engine and the avatar."""

    model: str = setting(
        "lite",
        "Lip engine: lite (CPU), musetalk (GPU; after `make musetalk`) or testcard (marks for measuring)",
        "口型引擎：lite（CPU）、musetalk（GPU，需先 make musetalk）或 testcard（测量用标记）",
    )
    musetalk_weights: str = setting(
        "v15",
        "Weights of musetalk: v15, v1, small (trained on the default avatar, runs anywhere) or a directory",
        "musetalk 的权重：v15、v1、small（以默认形象训练，任何机器可运行）或目录",
        min_length=1,
    )
    musetalk_decoder: Literal["sd-vae", "tiny"] = setting(
        "sd-vae",
        "Decoder of musetalk: sd-vae (sharper) or tiny (several times faster)",
        "musetalk 的解码器：sd-vae（更清晰）或 tiny（快数倍）",
    )
    device: str = setting(
        "auto",
        "Where musetalk runs: auto, cpu, cuda or cuda:N",
        "musetalk 的运行设备：auto、cpu、cuda 或 cuda:N",
        pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$",
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = setting(
        "auto",
        "Numbers musetalk computes with: auto (fp16 on a GPU, fp32 on a CPU), fp32, fp16, bf16",
        "musetalk 的计算精度：auto（GPU 用 fp16，CPU 用 fp32）、fp32、fp16、bf16",
    )
    avatar_id: str = setting(
        "",
        "Directory under data/avatars shown when /offer names none; empty: the first there is",
        "默认形象：data/avatars 下的目录名；留空取第一个",
    )
    avatar_memory: int = setting(
        1024,
        "Memory for the pictures of avatars, MiB: short idle motions are held whole, long ones where they are shown",
        "形象画面占用内存上限，MiB：短的待机动作整段保存，长的只保存正在显示的部分",
        ge=128,
        le=1_048_576,
    )
    batch_size: int = setting(
        None,
        "Pictures drawn at once over all sessions; empty: lite 4 (its most), musetalk 16",
        "所有会话合并绘制的最大批量；留空：lite 为 4（亦是上限），musetalk 为 16",
        ge=1,
        le=64,
    )
    context_left: int = setting(
        None,
        "Sliding window: 20 ms frames of past context; empty: lite 14 (its most), musetalk 100 (its least)",
        "滑动窗口：左侧上下文，20 毫秒帧数；留空：lite 为 14（上限），musetalk 为 100（下限）",
        "-l",
        ge=0,
        le=1000,
    )
    context_middle: int = setting(
        None,
        "Sliding window: 20 ms frames per step, one window for all its pictures; empty: lite 2 (fixed), musetalk 8",
        "滑动窗口：每步的 20 毫秒帧数，同一步的画面共用一个窗口；留空：lite 为 2（固定），musetalk 为 8",
        "-m",
        ge=2,
        le=50,
    )
    context_right: int = setting(
        None,
        "Sliding window: 20 ms frames of look-ahead, each 20 ms of delay for live sound; empty: 6, the most of lite "
        "and the least of musetalk",
        "滑动窗口：右侧前瞻，20 毫秒帧数，每帧使实时声音延迟 20 毫秒；留空：6，即 lite 的上限、musetalk 的下限",
        "-r",
        ge=0,
        le=50,
    )
    customvideo_config: str = setting(
        "",
        "JSON file of action videos (audiotype, imgpath, audiopath)",
        "动作编排 JSON 文件（audiotype、imgpath、audiopath）",
    )
    transport: Literal["webrtc"] = setting("webrtc", "How picture and sound leave: webrtc", "音视频输出方式：webrtc")

    @model_validator(mode="before")
    @classmethod
    def _suit_the_engine(cls, given: dict[str, Any]) -> dict[str, Any]:
        model = given.get("model", cls.model_fields["model"].default)
        suited = ENGINE_DEFAULTS.get(str(model), ENGINE_DEFAULTS["lite"])
        return {**given, **{name: value for name, value in suited.items() if given.get(name) is None}}

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value not in MODELS:
            raise ValueError(f"this build has no lip engine {value!r}; it has {', '.join(MODELS)}")
        return value

    @field_validator("avatar_id")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[\w.\-]{1,64}", value) or value.startswith("."):
            raise ValueError("must be the name of a directory under data/avatars: letters, digits, _ - .")
        return value
