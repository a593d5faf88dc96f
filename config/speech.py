"""`SpeechSettings`: the voices she speaks with."""

from __future__ import annotations

import re
from typing import Any

from pydantic import field_validator
from pydantic_settings import BaseSettings

from config.fields import Options, Words, setting
from tts import names as tts

_SECRET_OPTION = re.compile(r"(^|_)(api_?key|key|secret|token|password)$", re.IGNORECASE)


class SpeechSettings(BaseSettings):
    """The chain of speech engines."""

    tts: Words = setting(
        ("hibari", "kokoro", "espeak"),
        f"Speech engines, comma separated; one that fails hands the sentence to the next: {', '.join(tts.ENGINES)}, "
        f"{tts.PLUGIN}NAME for a plugin of LiveKit Agents",
        f"语音引擎链，逗号分隔；前一个失败则由下一个说：{'、'.join(tts.ENGINES)}，"
        f"或 {tts.PLUGIN}名称（LiveKit Agents 的插件）",
    )
    ref_file: str = setting(
        "",
        "Voice: an id of GET /api/speech/voices, `speak_as` of a library voice, or what the first engine of --tts "
        "takes: a name, or a recording to imitate; empty: chosen by language",
        "音色：GET /api/speech/voices 中的 id、音色库音色的 `speak_as`，或 --tts 首个引擎所接受的音色名、待模仿的录音；"
        "留空按语言选择",
        "--REF_FILE",
    )
    ref_text: str = setting(
        "",
        "What is said in that recording",
        "该录音的文字内容",
        "--REF_TEXT",
    )
    tts_server: str = setting(
        "",
        "Address of the speech server behind the engine that --tts names; empty: this machine, at the port it has by "
        "default",
        "--tts 所选引擎的语音服务地址；留空为本机及其默认端口",
        "--TTS_SERVER",
    )
    tts_options: Options = setting(
        {},
        'More about engines with a server, e.g. {openai: {server: "http://127.0.0.1:8880", model: kokoro}, cosyvoice: '
        "{version: 3}} (docs/speech-engines.md); keys come from the environment only",
        '各语音服务引擎的选项，如 {openai: {server: "http://127.0.0.1:8880", model: kokoro}, cosyvoice: {version: 3}}'
        "（见 docs/speech-engines.zh.md）；密钥只从环境变量读取",
    )
    tts_timeout_s: float = setting(
        3,
        "How long an engine may take to its first sound before the next one speaks, seconds",
        "语音引擎发出首个声音的时限，秒；超时则由下一个引擎说",
        gt=0,
        le=60,
    )
    tts_cache_mb: int = setting(
        0,
        "Keep spoken clauses on disk, at most so many MiB, and say them again from there; 0: do not",
        "在磁盘上缓存说过的句子，上限 MiB；0 为不缓存",
        ge=0,
        le=100_000,
    )
    split_clauses: int = setting(
        0,
        "Clauses spoken as one, after the first; 0: as the performance mode says",
        "首句之后，多少个分句合为一次合成；0 按性能模式",
        ge=0,
        le=10,
    )
    split_characters: int = setting(100, "Most characters spoken as one", "一次合成的最大字符数", ge=30, le=200)

    @field_validator("tts")
    @classmethod
    def _known_engines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        allowed = f"choose among {', '.join(tts.ENGINES)}, {tts.PLUGIN}NAME"
        chain = tuple(map(tts.canonical, value))
        for name in chain:
            if not tts.is_known(name):
                raise ValueError(f"there is no speech engine {name!r}; {allowed}")
        if not chain:
            raise ValueError(f"names no engine; {allowed}")
        return tuple(dict.fromkeys(chain))

    @field_validator("tts_options")
    @classmethod
    def _options_of_engines(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in value.items():
            if not tts.is_known(tts.canonical(name)) or tts.canonical(name) in tts.LOCAL:
                raise ValueError(f"there is no engine {name!r} that takes options")
            if secret := next(filter(_SECRET_OPTION.search, options), None):
                raise ValueError(f"{name}.{secret} looks like a key: keys come from the environment, never from here")
        return {tts.canonical(name): options for name, options in value.items()}

    @field_validator("tts_server")
    @classmethod
    def _speech_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"(https?|wss?|grpcs?)://[^/\s@]+(/\S*)?", value):
            raise ValueError("must be an address such as http://127.0.0.1:9880, without a name or password in it")
        return value.rstrip("/")
