"""`LibrarySettings`: what can be configured of the voice library.

The founding document names some of them in the environment without our prefix; those names are taken too.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator
from pydantic_settings import BaseSettings

from config.fields import Words, setting

STORAGE_SYNONYMS = {"minio": "s3", "oss": "s3"}
"""Any server that speaks S3 is one to us."""


class LibrarySettings(BaseSettings):
    """The voice library."""

    library: Literal["on", "off"] = setting(
        "on", "Whether there is a voice library: on or off", "是否启用音色库：on 或 off"
    )
    database_url: str = setting(
        "",
        "Its database, postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE; empty: SQLite under data/voices",
        "音色库的数据库：postgresql://用户:密码@主机/库名 或 sqlite:///文件；留空为 data/voices 下的 SQLite",
        env="DATABASE_URL",
    )
    redis_url: str = setting(
        "",
        "Redis that several servers share their cache and their news through; empty: this process's own memory",
        "多个服务共享缓存与进度消息的 Redis；留空则用本进程内存",
        env="REDIS_URL",
        pattern=r"^((redis|rediss|unix)://\S+)?$",
    )
    storage_type: Literal["local", "s3"] = setting(
        "local",
        "Where recordings and speech are kept: local, or s3 (also written minio, oss): any server that speaks S3",
        "录音与语音的存储：local，或 s3（亦可写 minio、oss），即任何兼容 S3 的服务",
        env="STORAGE_TYPE",
    )
    storage_path: str = setting(
        "",
        "local: a folder (empty: data/voices/storage); s3: BUCKET or BUCKET/PREFIX",
        "local：目录（留空为 data/voices/storage）；s3：存储桶，或 存储桶/前缀",
        env="STORAGE_PATH",
    )
    storage_endpoint: str = setting(
        "", "Address of the S3 server; empty: Amazon's", "S3 服务地址；留空为亚马逊", env="STORAGE_ENDPOINT"
    )
    storage_region: str = setting("us-east-1", "Region of the bucket", "存储桶所在区域", env="STORAGE_REGION")
    storage_access_key: str = setting("", "Access key of the S3 server", "S3 访问密钥", env="STORAGE_ACCESS_KEY")
    storage_secret_key: str = setting("", "Secret key of the S3 server", "S3 私有密钥", env="STORAGE_SECRET_KEY")
    storage_public_endpoint: str = setting(
        "",
        "Address at which browsers reach the S3 server: they are then sent there by presigned addresses; empty: "
        "downloads run through this server",
        "浏览器访问 S3 服务的地址：设置后下载跳转到预签名地址；留空则经由本服务下载",
        env="STORAGE_PUBLIC_ENDPOINT",
    )
    voice_makers: Words = setting(
        (),
        "Sources of voices to offer, the default first, comma separated; empty: all that can be used, cloning ones "
        "first",
        "提供的音色来源，默认者在前，逗号分隔；留空为全部可用来源，克隆引擎在前",
    )
    embedding_provider: str = setting(
        "",
        "What tells speakers apart: campplus, resemblyzer, http or placeholder; empty: the best there is",
        "说话人模型：campplus、resemblyzer、http 或 placeholder；留空取最佳可用者",
        env="EMBEDDING_PROVIDER",
        pattern=r"^(campplus|resemblyzer|http|placeholder)?$",
    )
    embedding_dimension: int = setting(
        256, "Numbers in a placeholder's vector", "占位向量的维度", env="EMBEDDING_DIMENSION", ge=8, le=4096
    )
    embedding_service_url: str = setting(
        "", "Address of the speaker model `http`", "说话人模型 http 的服务地址", env="EMBEDDING_SERVICE_URL"
    )
    max_voice_mb: int = setting(
        10, "Largest recording POST /api/files/upload takes, MiB", "上传录音的大小上限，MiB", ge=1, le=100
    )
    voice_seconds_min: float = setting(
        5.0, "Shortest speech a voice is made of, seconds", "创建音色所需语音的最短时长，秒", ge=1, le=60
    )
    voice_seconds_max: float = setting(
        10.0, "Longest speech a voice is made of, seconds", "创建音色所用语音的最长时长，秒", ge=1, le=60
    )
    keep_uploads_h: float = setting(
        24.0,
        "Recordings of which no voice is made are deleted after so many hours; 0: never",
        "未用于音色的录音在此小时数后删除；0 为不删除",
        ge=0,
    )
    keep_speech_days: float = setting(
        30.0,
        "Generated speech is deleted after so many days; 0: never",
        "生成的语音在此天数后删除；0 为不删除",
        ge=0,
    )

    @field_validator("storage_type", mode="before")
    @classmethod
    def _known_storage(cls, value: object) -> object:
        return STORAGE_SYNONYMS.get(value, value) if isinstance(value, str) else value

    @field_validator("storage_endpoint", "storage_public_endpoint", "embedding_service_url")
    @classmethod
    def _http_address(cls, value: str) -> str:
        if value and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")
