"""`SpokenReplies`: Step-Audio 2 behind its server, the codes of its replies made sound on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from engines.musetalk.tensors import read_tensors
from errors import EngineError, Unprocessable
from kaldi import WINDOW
from media import SAMPLE_RATE_HZ, Pcm
from stepaudio import layout, semantic, sound
from stepaudio.chat import Message
from stepaudio.checkpoints import out_of_memory_told
from stepaudio.model import Answer
from stepaudio.semantic import SemanticTokenizer
from stepaudio.served import StepAudioModel
from stepaudio.vocoder import vocoder
from stepaudio.vocoder.config import CODES, FRAMES_PER_CODE, HIFT, read_second
from stepaudio.vocoder.hift import Hift
from stepaudio.vocoder.second import SecondFlow
from stepaudio.vocoder.vocoder import Likeness

FFT = 1920
SHORTEST_S = 0.5
LONGEST_S = 30.0


class SecondVocoder:
    """Step-Audio 2's vocoder. Thread-safe, since it holds no state.

    Args:
        flow: with its weights, on its device.
        hift: with its weights, on its device.
        codes: makes codes of recordings.
        speaker_model: CAM++.
    """

    rate_hz = HIFT.sampling_rate

    def __init__(self, flow: SecondFlow, hift: Hift, codes: SemanticTokenizer, speaker_model: vocoder.Session) -> None:
        self._flow = flow.eval().requires_grad_(False)
        self._hift = hift.eval().requires_grad_(False)
        self._codes = codes
        self._speaker_model = speaker_model

    def likeness(self, pcm: Pcm, rate_hz: int) -> Likeness:
        """What it needs to sound like a recording.

        Raises:
            Unprocessable: it is no sound, or not from SHORTEST_S to LONGEST_S long.
            EngineError: a model failed.
        """
        heard = sound.to_rate(sound.checked(pcm), rate_hz, SAMPLE_RATE_HZ)
        seconds = len(heard) / SAMPLE_RATE_HZ
        if not SHORTEST_S <= seconds <= LONGEST_S or len(heard) < WINDOW:
            raise Unprocessable(
                f"the recording lasts {seconds:.1f} s; from {SHORTEST_S} to {LONGEST_S:.0f} s are imitated",
                zh=f"录音长 {seconds:.1f} 秒，应为 {SHORTEST_S} 至 {LONGEST_S:.0f} 秒",
            )
        codes = self._codes.codes(heard)
        own = sound.to_rate(sound.checked(pcm), rate_hz, self.rate_hz)
        mel = torch.from_numpy(vocoder.log_mel(own, HIFT, FFT)).T[None]
        wanted = FRAMES_PER_CODE * len(codes)
        mel = F.pad(mel, (0, max(0, wanted - mel.shape[2])), mode="replicate")[:, :, :wanted].transpose(1, 2)
        return Likeness(tuple(codes), mel, vocoder.speaker_of(heard, self._speaker_model))

    def speak(self, codes: Sequence[int], like: Likeness, seed: int | None = None) -> Pcm:
        """The sound of codes, 0..6560, at `rate_hz`.

        Raises:
            EngineError: there are none.
            Unavailable: the GPU's memory ran out.
        """
        if not codes:
            raise EngineError("stepaudio", "the model wrote no code of sound")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        ids, prompt = (torch.tensor(list(some), dtype=torch.long) for some in (codes, like.tokens))
        with out_of_memory_told("the vocoder"):
            mel = self._flow(ids, prompt, like.mel, like.speaker, generator)
            made: torch.Tensor = self._hift(mel.to(self._hift.conv_pre.weight), generator)
        return np.asarray(made.cpu().numpy(), np.float32)


def load(directory: Path, device: str = "cpu") -> SecondVocoder:
    """The published `token2wav/`.

    Args:
        directory: of `Step-Audio-2-mini`.
        device: torch's name of where it works.

    Raises:
        NotFound: a file is missing.
        Unprocessable: one is damaged, or of another network.
    """
    layout.check(layout.SECOND, directory)
    place, get = directory / "token2wav", layout.command(layout.SECOND)
    size = read_second(place / "flow.yaml", get)
    with torch.device("meta"):
        flow, hift = SecondFlow(size), Hift(HIFT)
    vocoder.fill(flow, read_tensors(place / "flow.pt", get), place / "flow.pt", get)
    folded = vocoder.without_weight_norm(read_tensors(place / "hift.pt", get))
    vocoder.fill(hift, folded, place / "hift.pt", get)
    codes = semantic.load_graph(place / "speech_tokenizer_v2_25hz.onnx", get, device, CODES)
    with out_of_memory_told(str(place)):
        dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
        speaker_model = vocoder.read_speaker_model(place / "campplus.onnx", get)
        return SecondVocoder(flow.to(device, dtype), hift.to(device), codes, speaker_model)


class SpokenReplies:
    """Conversations with a served Step-Audio 2, answered in text and sound.

    Args:
        base_url: of the server, with its `/v1`.
        second: makes sound of its codes.
        like: whose voice.
    """

    def __init__(self, base_url: str, second: SecondVocoder, like: Likeness) -> None:
        self._base_url = base_url
        self._second = second
        self._like = like

    async def answer(
        self, messages: Sequence[Message], speed_ratio: float = 1.0, volumn_ratio: float = 1.0, seed: int | None = None
    ) -> Answer:
        """The answer to a conversation.

        Args:
            messages: of `chat`'s form.
            speed_ratio: 0.5 to 2.
            volumn_ratio: 0.1 to 10.
            seed: of the noise that the sound begins with.

        Raises:
            VisageError: see `StepAudioModel.spoken`, `SecondVocoder.speak` and `StepAudio.__call__`.
        """
        sound.check_ratios(speed_ratio, volumn_ratio)
        text, codes = "", list[int]()
        async with (
            contextlib.aclosing(StepAudioModel(self._base_url)) as model,
            contextlib.aclosing(model.spoken(messages)) as deltas,
        ):
            async for delta in deltas:
                text += delta.text
                codes += delta.audio
        rate_hz = self._second.rate_hz
        made = await asyncio.to_thread(self._second.speak, codes, self._like, seed)
        spoken = sound.with_speed(made, rate_hz, speed_ratio)
        return Answer(text, sound.with_volume(spoken, volumn_ratio), rate_hz)
