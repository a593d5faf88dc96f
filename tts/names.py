"""The names of the speech engines, without any of their imports."""

from __future__ import annotations

LOCAL = ("edge", "hibari", "kokoro", "espeak")
"""Speak on this machine, but for `edge`, which asks a public service."""
SELF_HOSTED = (
    "cosyvoice",
    "cosyvoice-grpc",
    "fish-speech",
    "gpt-sovits",
    "indextts2",
    "omnitts",
    "openai",
    "spark-tts",
    "stepaudio",
    "xtts",
)
"""Speak through a server that one runs oneself, or rents: `--TTS_SERVER` is its address."""
HOSTED = ("azure", "doubao", "doubao-v3", "qwen", "stepfun", "stepfun-ws", "tencent")
"""Speak through their vendor's server, with a key from the environment."""
ENGINES = (*LOCAL, *SELF_HOSTED, *HOSTED)
PLUGIN = "livekit:"
"""Before the name of a speech plugin of LiveKit Agents."""
SYNONYMS = {
    "edgetts": "edge", "edge-tts": "edge", "espeak-ng": "espeak", "fishtts": "fish-speech", "fish": "fish-speech",
    "azuretts": "azure", "qwentts": "qwen", "gptsovits": "gpt-sovits", "sovits": "gpt-sovits", "sparktts": "spark-tts",
    "step-audio": "stepaudio",
}  # fmt: skip
"""LiveTalking's names, and what people write."""


def canonical(name: str) -> str:
    """The name of the engine that is called so."""
    folded = name.strip().lower()
    return SYNONYMS.get(folded, folded)


def is_known(name: str) -> bool:
    """Whether there is an engine of that (canonical) name; whether a plugin is installed is not asked."""
    return name in ENGINES or (name.startswith(PLUGIN) and len(name) > len(PLUGIN))
