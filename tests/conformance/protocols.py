"""`PROTOCOLS`: every wire protocol, its scripted server, and its engine set up for it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import grpcservers, httpservers, socketservers
from tests.conformance.script import KEY, RATE_HZ, Script
from tts.azure import AzureVoice
from tts.base import SpeechEngine
from tts.cosyvoice import CosyVoice, CosyVoiceGrpc
from tts.doubao import DoubaoVoice
from tts.doubaov3 import DoubaoV3Voice
from tts.fishspeech import FishVoice
from tts.gptsovits import SovitsVoice
from tts.indextts2 import IndexVoice
from tts.livekit import LiveKitEngine
from tts.openai import OmniVoice, OpenAiVoice
from tts.qwen import QwenVoice
from tts.sparktts import SparkVoice
from tts.stepaudio import StepAudioVoice
from tts.stepfun import StepFunSocket, StepFunVoice
from tts.tencent import TencentVoice
from tts.wire.options import Common, checked
from tts.xtts import XttsVoice

KEYS = {
    "TENCENT_APPID": "1259", "TENCENT_SECRET_ID": "AKIDsecret-id", "TENCENT_SECRET_KEY": KEY, "DOUBAO_APPID": "77",
    "DOUBAO_TOKEN": KEY, "AZURE_SPEECH_KEY": KEY, "AZURE_TTS_REGION": "nowhere", "DASHSCOPE_API_KEY": KEY,
    "STEP_API_KEY": KEY, "FISH_API_KEY": KEY, "TTS_API_KEY": KEY,
}  # fmt: skip
RECORDING = Path(__file__).parent / "recording.wav"
SAID = "Good morning to you all."
"""What is said in it."""
REFERENCE = {"ref_file": str(RECORDING), "ref_text": SAID}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One wire protocol."""

    name: str
    serve: Callable[[Script], contextlib.AbstractAsyncContextManager[str]]
    make: Callable[[str], SpeechEngine]
    says_when: bool = True
    """Whether a refusal can say when to ask again."""
    header: bool = True
    """Whether a WAV header in its sound is read, not heard."""
    tells_words: bool = False
    pads: bool = False
    """Whether a sound of less than 0.2 s gets silence behind it."""
    needs: str = ""
    """A package."""


def engine(kind: Any, address: str, **options: Any) -> SpeechEngine:
    """An engine whose server is at `address`."""
    made: SpeechEngine = kind(
        checked(kind.Options, kind.name, {"server": address, **options}), Common(keys=KEYS, mode="balanced")
    )
    return made


def http(name: str, routes: Callable[[Script], Any], kind: Any, path: str = "", **options: Any) -> Protocol:
    return Protocol(
        name, lambda script: httpservers.served(*routes(script)), lambda at: engine(kind, f"{at}{path}", **options)
    )


def socket(name: str, routes: Callable[[Script], Any], kind: Any, path: str = "", **options: Any) -> Protocol:
    def make(address: str) -> SpeechEngine:
        return engine(kind, address.replace("http://", "ws://") + path, **options)

    return Protocol(name, lambda script: httpservers.served(*routes(script)), make)


def _cartesia(address: str) -> SpeechEngine:
    options = {"api_key": KEY, "base_url": address, "sample_rate": RATE_HZ, "languages": ["en", "zh"]}
    return LiveKitEngine("cartesia", options)


PROTOCOLS: Sequence[Protocol] = (
    http("openai", httpservers.openai, OpenAiVoice, ref_file="af_heart"),
    http("omnitts", httpservers.openai, OmniVoice),
    http("gpt-sovits", httpservers.gptsovits, SovitsVoice, ref_file="anna.wav", ref_text=SAID),
    http("cosyvoice", httpservers.cosyvoice, CosyVoice, **REFERENCE),
    http("stepaudio", httpservers.stepaudio, StepAudioVoice, rate=RATE_HZ),
    http("stepaudio-clone", httpservers.stepaudio, StepAudioVoice, rate=RATE_HZ, **REFERENCE),
    http("fish-speech", httpservers.fishspeech, FishVoice, ref_file="anna", rate=RATE_HZ),
    http("xtts", httpservers.xtts, XttsVoice, **REFERENCE),
    http("indextts2", httpservers.indextts2, IndexVoice, **REFERENCE),
    http("indextts2-vllm", httpservers.indextts2_vllm, IndexVoice, protocol="vllm", **REFERENCE),
    http("tencent", httpservers.tencent, TencentVoice, rate=RATE_HZ),
    http("doubao-v3", httpservers.doubao_v3, DoubaoV3Voice),
    http("azure", httpservers.azure, AzureVoice),
    http("stepfun", httpservers.stepfun, StepFunVoice),
    socket("stepfun-ws", socketservers.stepfun, StepFunSocket),
    socket("doubao", socketservers.doubao, DoubaoVoice),
    socket("qwen", socketservers.qwen, QwenVoice, "/api-ws/v1/realtime"),
    Protocol(
        "cosyvoice-grpc", grpcservers.cosyvoice, lambda at: engine(CosyVoiceGrpc, at, **REFERENCE),
        says_when=False, needs="grpc",
    ),
    Protocol(
        "spark-tts", grpcservers.spark, lambda at: engine(SparkVoice, at, **REFERENCE),
        says_when=False, header=False, needs="grpc",
    ),
    Protocol(
        "livekit:cartesia", lambda script: httpservers.served(*socketservers.cartesia(script)), _cartesia,
        says_when=False, header=False, tells_words=True, pads=True, needs="livekit.plugins.cartesia",
    ),
)  # fmt: skip


def _is_there(package: str) -> bool:
    try:
        return not package or importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def every(protocols: Sequence[Protocol] = PROTOCOLS) -> Any:
    """Parametrizes a test by protocol."""
    return pytest.mark.parametrize(
        "protocol",
        [
            pytest.param(one, id=one.name, marks=pytest.mark.skipif(not _is_there(one.needs), reason=f"no {one.needs}"))
            for one in protocols
        ],
    )
