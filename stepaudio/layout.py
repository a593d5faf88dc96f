"""How Step-Audio's publishers lay its files out, and whether they are there.

    models/stepaudio/
        Step-Audio-Tokenizer/   both codebooks
        Step-Audio-TTS-3B/      the speaking model, and a vocoder for speech and one for music
        Step-Audio-Chat/        the talking model, 130 billion parameters
        Step-Audio-2-mini/      only `token2wav/`, the vocoder of Step-Audio 2's spoken replies
        Step-Audio/             the publishers' code, whose `speakers/` hold the built-in voices and whose `tts.py` the
                                wording of the instructions; neither is among the weights, and none of it is run

Sizes are published to three digits only: enough to tell a file that is a pointer, an error page or cut short. Names and
shapes of all tensors are checked when they are read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from errors import NotFound
from weights.manifest import MODELS

ROOT = MODELS / "stepaudio"
SECOND = "Step-Audio-2-mini"
TOKENIZER, TTS, CHAT, SOURCE = "Step-Audio-Tokenizer", "Step-Audio-TTS-3B", "Step-Audio-Chat", "Step-Audio"
PARAFORMER = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
SPEECH_VOCODER, MUSIC_VOCODER = "CosyVoice-300M-25Hz", "CosyVoice-300M-25Hz-Music"
TOLERANCE = 0.02
"""Of a size that is known to three digits, and by which rounded megabytes may differ."""
SMALL_MB = 0.0
"""For files whose size is not published: they must not be empty."""


def command(part: str) -> str:
    """What brings a part of the layout to where it belongs."""
    if part == SOURCE:
        return f"git clone https://github.com/stepfun-ai/Step-Audio {ROOT / SOURCE}"
    only = " --include 'token2wav/*'" if part == SECOND else ""
    return f"pip install -U huggingface_hub && hf download stepfun-ai/{part} --local-dir {ROOT / part}{only}"


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file of a part."""

    path: str
    mb: float = SMALL_MB


def _vocoder(name: str) -> tuple[File, ...]:
    sizes = {"cosyvoice.yaml": SMALL_MB, "flow.pt": 422, "hift.pt": 82, "campplus.onnx": 28}
    return tuple(File(f"{name}/{file}", mb) for file, mb in sizes.items())


FILES: dict[str, tuple[File, ...]] = {
    TOKENIZER: (
        File(f"{PARAFORMER}/model.pt", 881),
        File(f"{PARAFORMER}/config.yaml"),
        File(f"{PARAFORMER}/am.mvn"),
        File("linguistic_tokenizer.npy", 2.1),
        File("speech_tokenizer_v1.onnx", 523),
    ),
    TTS: (
        File("config.json"),
        File("model-00001.safetensors", 7060),
        File("tokenizer.model", 1.26),
        *_vocoder(SPEECH_VOCODER),
        *_vocoder(MUSIC_VOCODER),
    ),
    CHAT: (File("config.json"), File("tokenizer.model")),
    SECOND: tuple(
        File(f"token2wav/{name}")
        for name in ("flow.yaml", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v2_25hz.onnx")
    ),
    SOURCE: (File("speakers/speakers_info.json"), File("tts.py")),
}
"""What is needed of each part; what else is published with it is not read."""


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What is wrong with a part."""

    part: str
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    """Of another size than published."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is."""
        return not self.missing and not self.wrong


def state_of(part: str, directory: Path) -> State:
    """Look at the names and sizes of a part's files; nothing is read.

    Args:
        part: one of FILES.
        directory: where it lies.
    """
    missing, wrong = [], []
    for file in FILES[part]:
        path = directory / file.path
        if not path.is_file():
            missing.append(file.path)
        elif not _plausible(path.stat().st_size, file.mb):
            wrong.append(file.path)
    return State(part, tuple(missing), tuple(wrong))


def check(part: str, directory: Path) -> None:
    """Refuse a part that lacks a file.

    Raises:
        NotFound: names all that are missing, and what brings them.
    """
    missing = ", ".join(state_of(part, directory).missing)
    if missing:
        get = command(part)
        raise NotFound(f"{directory} lacks {missing}; to get it: {get}", zh=f"{directory} 缺少 {missing}；获取：{get}")


def _plausible(size: int, mb: float) -> bool:
    return size > 0 if mb == SMALL_MB else abs(size / 1e6 / mb - 1) <= TOLERANCE
