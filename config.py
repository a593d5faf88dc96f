"""`Settings`: everything that can be configured, with its limits and its description in both languages."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import BeforeValidator, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from configlibrary import LibrarySettings, Words, setting
from errors import VisageError
from tts import names as tts

MODELS = ("lite", "musetalk", "testcard")
"""Values of `--model` this build can run."""
ENGINE_DEFAULTS: dict[str, dict[str, int]] = {
    "lite": {"batch_size": 4, "context_left": 14, "context_middle": 2, "context_right": 6},
    "musetalk": {"batch_size": 16, "context_left": 100, "context_middle": 8, "context_right": 6},
    "testcard": {"batch_size": 1, "context_left": 0, "context_middle": 2, "context_right": 0},
}
"""By model: the settings that stay empty until an engine is chosen, and are then what it works best with."""
LLM_TOOLS = ("clock", "faq")
"""Values allowed in `--llm_tools`."""
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


def _mapping(value: object) -> object:
    """`"{a: {b: 1}}"`, YAML or JSON, -> `{"a": {"b": 1}}`; mappings pass through."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value) or {}
    except yaml.YAMLError as error:
        raise ValueError("must be written as YAML or JSON, e.g. {engine: {option: value}}") from error


Options = Annotated[dict[str, dict[str, Any]], BeforeValidator(_mapping)]
_SECRET_OPTION = re.compile(r"(^|_)(api_?key|key|secret|token|password)$", re.IGNORECASE)


class Settings(LibrarySettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(extra="forbid", validate_default=True, frozen=True)

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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`configload.load` reads the sources, so that an error can name the one it came from."""
        return (init_settings,)

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

    @field_validator("avatar_id")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[\w.\-]{1,64}", value) or value.startswith("."):
            raise ValueError("must be the name of a directory under data/avatars: letters, digits, _ - .")
        return value

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

    @field_validator("cors_origins", "notify_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError(f"{origin!r} is not an origin; write scheme://host[:port], one by one (no *)")
        return value

    @model_validator(mode="after")
    def _closed_by_default(self) -> Settings:
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

    def public(self) -> dict[str, Any]:
        """The settings without their secrets, JSON-ready."""
        shown = self.model_dump(mode="json")
        for name in SECRETS:
            shown[name] = bool(shown[name])
        return shown
