"""`ConversationSettings`: what hears visitors, and what answers them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator
from pydantic_settings import BaseSettings

from config.fields import Words, setting

LLM_TOOLS = ("clock", "faq")
"""Values allowed in `--llm_tools`."""


class ConversationSettings(BaseSettings):
    """Listening, recognition and the language model."""

    llm: Literal["auto", "stepaudio"] = setting(
        "auto",
        "Who answers: auto (the server at llm_base_url, else the local model) or stepaudio (Step-Audio or Step-Audio 2 "
        "under vLLM; by default at http://127.0.0.1:8000/v1)",
        "由谁回答：auto（llm_base_url 的服务，否则用本地模型）或 stepaudio（vLLM 上的 Step-Audio 或 Step-Audio 2，"
        "默认地址 http://127.0.0.1:8000/v1）",
    )
    llm_base_url: str = setting(
        "",
        "OpenAI-compatible server for chat, e.g. http://localhost:11434/v1; empty: the local model, where `make chat` "
        "has brought it",
        "对话用的 OpenAI 兼容服务地址，如 http://localhost:11434/v1；留空则使用 make chat 安装的本地模型",
    )
    llm_tools: Words = setting(
        (),
        "Functions the language model may call, comma separated: clock, faq",
        "允许大模型调用的函数，逗号分隔：clock、faq",
    )
    llm_faq: str = setting(
        "",
        "Markdown file the function faq looks questions up in: a heading, then its answer",
        "函数 faq 查询的 Markdown 文件：标题为问题，其下为答案",
    )
    llm_api_key: str = setting("", "Key of the language model server", "大模型服务密钥")
    llm_model: str = setting("", "Model name asked of the language model server", "大模型名称")
    system_prompt: str = setting(
        "", "What the presenter is told about herself; empty: a built-in one", "系统提示词；留空用内置的"
    )
    listening: Literal["on", "off"] = setting(
        "on", "Whether visitors' microphones are taken: on or off", "是否接收访客的麦克风：on 或 off"
    )
    performance_mode: Literal["fast", "balanced", "quality"] = setting(
        "balanced",
        "How conversations are paced: fast (answers sooner, cuts off more often), balanced, quality (more patience, "
        "the large recogniser)",
        "对话节奏：fast（回答更快，更易抢话）、balanced、quality（更有耐心，使用大识别模型）",
    )
    language: Literal["", "en", "zh"] = setting(
        "", "Language visitors speak; empty: told by what is heard", "访客使用的语言；留空则自动判断"
    )
    echo: Literal["", "off", "browser", "aec", "gate", "window"] = setting(
        "",
        "What keeps her voice out of the microphone: browser, aec (on the server), gate, window (half duplex), off; "
        "empty: as the performance mode says",
        "如何避免麦克风收到她自己的声音：browser、aec（服务器端）、gate、window（半双工）、off；留空按性能模式",
    )
    asr: Words = setting(
        (),
        "Speech recognisers, comma separated: whisper-base, whisper-large-v3-turbo, openai, funasr; the first that is "
        "there is used, one that fails hands on; empty: as the performance mode says",
        "语音识别链，逗号分隔：whisper-base、whisper-large-v3-turbo、openai、funasr；依次使用可用者，失败则交给下一个；"
        "留空按性能模式",
    )
    asr_base_url: str = setting(
        "",
        "Server of the recogniser openai (/v1/audio/transcriptions)",
        "openai 识别服务地址（/v1/audio/transcriptions）",
    )
    asr_api_key: str = setting("", "Key of that server", "该识别服务的密钥")
    asr_model: str = setting("whisper-1", "Model name asked of it", "向其请求的模型名称")
    asr_server: str = setting(
        "", "WebSocket address of the recogniser funasr, ws://host:10095", "funasr 识别服务的 WebSocket 地址"
    )
    asr_threads: int = setting(2, "Threads of a local recogniser", "本地识别的线程数", ge=1, le=2)
    asr_beam: int = setting(
        0,
        "Beam of whisper-base, 0: as the performance mode says; the large one always has 5",
        "whisper-base 的束宽，0 按性能模式；大模型固定为 5",
        ge=0,
        le=10,
    )
    asr_window: Literal["short", "whole"] = setting(
        "short",
        "What Whisper looks at: short (as long as the sentence) or whole (30 s, four times the work)",
        "Whisper 的窗口：short（与句子等长）或 whole（30 秒，四倍计算量）",
    )

    @field_validator("llm_tools")
    @classmethod
    def _known_functions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in LLM_TOOLS:
                raise ValueError(f"there is no function {name!r}; choose among {', '.join(LLM_TOOLS)}")
        return value

    @field_validator("asr_server")
    @classmethod
    def _socket_address(cls, value: str) -> str:
        if value and not re.match(r"wss?://[^/\s]+", value):
            raise ValueError("must begin with ws:// or wss://")
        return value

    @field_validator("llm_base_url", "asr_base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")
