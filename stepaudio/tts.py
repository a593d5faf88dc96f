"""`StepAudioTTS`: text to speech by Step-Audio-TTS-3B, in a built-in voice or that of a recording, spoken or sung."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from errors import BadRequest, EngineError, NotFound
from media import Pcm
from stepaudio import checkpoints, instructions, layout, sound, speakers, text
from stepaudio.codes import from_ids, interleave, to_ids
from stepaudio.generation import CONTEXT_MAX, Model, Sampling, forbid_repetition, generate
from stepaudio.instructions import Instructed, SystemTexts, read_tags
from stepaudio.speakers import Speaker, Speakers
from stepaudio.text import BEGIN_ID, BOS_ID, END_ID, TextTokenizer
from stepaudio.tokenizer import StepAudioTokenizer
from stepaudio.vocoder import vocoder
from stepaudio.vocoder.vocoder import Likeness, Vocoder
from tts.wire.texts import parts

SAMPLING = Sampling(max_new_tokens=CONTEXT_MAX, top_p=1.0)
"""As the publishers speak: sampled at 0.7, until the model ends."""
TEXT_CHARACTERS_MAX = 5000
PART_CHARACTERS = 300
"""A longer text is spoken part by part: a minute of speech, of which the model attends to three."""
PROMPT_S_MAX = 60.0
LIKENESSES_MAX = 32
"""Recordings that are kept ready at a time."""


def _never() -> bool:
    return False


class StepAudioTTS:
    """Speaks. Thread-safe; one text at a time.

    Args:
        model: the speaking model.
        tokenizer: its text.
        encoder: makes tokens of recordings.
        speech: the vocoder for speech.
        music: the one for singing.
        built_in: the voices there are.
        system_texts: how it is told to speak.
        sampling: how tokens are drawn; None: SAMPLING.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: TextTokenizer,
        encoder: StepAudioTokenizer,
        speech: Vocoder,
        music: Vocoder,
        built_in: Speakers,
        system_texts: SystemTexts = instructions.OWN,
        sampling: Sampling | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._vocoders = {False: speech, True: music}
        self._system_texts = system_texts
        self._sampling = sampling or SAMPLING
        self.speakers = built_in
        self._likenesses: OrderedDict[bytes, Likeness] = OrderedDict()
        self._lock = threading.Lock()
        self._speaking = threading.Lock()

    @classmethod
    def load(
        cls,
        model_path: str | Path,
        encoder: StepAudioTokenizer,
        *,
        source: str | Path | None = None,
        devices: Sequence[str] = ("cpu",),
        sampling: Sampling | None = None,
    ) -> StepAudioTTS:
        """Of a published `Step-Audio-TTS-3B`.

        Args:
            model_path: its directory.
            encoder: of `Step-Audio-Tokenizer`.
            source: a copy of the publishers' repository, or any directory with `speakers/`; None: beside the model.
            devices: torch's names of where the model goes; the vocoders go to the first.
            sampling: how tokens are drawn; None: SAMPLING.

        Raises:
            NotFound: a file is missing.
            Unprocessable: one is damaged, or of another network.
            Unavailable: the devices have not enough memory.
        """
        directory, get = Path(model_path), layout.command(layout.TTS)
        layout.check(layout.TTS, directory)
        place = Path(source) if source else directory.parent / layout.SOURCE
        on_gpu = torch.device(devices[0]).type == "cuda"
        dtype = torch.bfloat16 if on_gpu else torch.float32

        def a_vocoder(name: str) -> Vocoder:
            return vocoder.load(directory / name, get, devices[0], dtype)

        return cls(
            checkpoints.load_step1(directory, get, devices),
            text.load(directory, get),
            encoder,
            a_vocoder(layout.SPEECH_VOCODER),
            a_vocoder(layout.MUSIC_VOCODER),
            read_built_in(place),
            read_wording(place),
            sampling,
        )

    @property
    def rate_hz(self) -> int:
        """Of the sound it makes."""
        return self._vocoders[False].rate_hz

    def __call__(
        self,
        text: str,
        prompt_speaker: str,
        clone_dict: Mapping[str, Any] | None = None,
        *,
        speed_ratio: float = 1.0,
        volumn_ratio: float = 1.0,
        seed: int | None = None,
        stopped: Callable[[], bool] = _never,
    ) -> tuple[Pcm, int]:
        """The speech of a text, float32 [n], and its rate.

        Args:
            text: may begin with tags: `(RAP)`, `(高兴1)(四川话)`, which hold for all of it.
            prompt_speaker: a built-in voice; not looked at where there is a `clone_dict`.
            clone_dict: `wav_path` of a recording, a path or an open file, and its `prompt_text`.
            speed_ratio: 0.5 to 2.
            volumn_ratio: 0.1 to 10.
            seed: of all that is drawn; None: another one each time.
            stopped: asked again and again; True ends the work.

        Raises:
            BadRequest: the text is empty or too long, a ratio out of bounds, the dictionary incomplete.
            NotFound: there is no such voice, or recording.
            Unprocessable: the recording is no sound.
            TooLarge: text and recording together are longer than the model attends to.
            EngineError: the model wrote no sound, or was stopped.
            Unavailable: the GPU's memory ran out.
        """
        instructed = self._checked(text)
        sound.check_ratios(speed_ratio, volumn_ratio)
        speaker, pcm, rate_hz = self._recording(instructed, prompt_speaker, clone_dict)
        music = bool(instructed.music)
        like = self._likeness(pcm, rate_hz, music)
        spoken: list[Pcm] = []
        for part in parts(instructed.text, PART_CHARACTERS):
            if any(map(str.isalnum, part)):
                tokens = self.tokens(Instructed(instructed.tags, part), speaker, like.tokens, seed, stopped)
                spoken.append(self._vocoders[music].speak(tokens, like, seed))
        paced = sound.with_speed(np.concatenate(spoken), self.rate_hz, speed_ratio)
        return sound.with_volume(paced, volumn_ratio), self.rate_hz

    def tokens(
        self,
        instructed: Instructed,
        speaker: Speaker,
        like: Sequence[int],
        seed: int | None = None,
        stopped: Callable[[], bool] = _never,
    ) -> list[int]:
        """The tokens of sound, 0..5119, that the model writes for a text.

        Args:
            instructed: the text.
            speaker: whose voice.
            like: the tokens of their recording.
            seed: of the draws.
            stopped: see `__call__`.

        Raises:
            TooLarge, Unavailable, EngineError: see `__call__`.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        prompt = self.prompt(instructed, speaker, like)
        ids: list[int] = []
        with self._speaking:
            for number in generate(
                self._model, prompt, self._sampling, processes=(forbid_repetition,), generator=generator
            ):
                if stopped():
                    raise EngineError("stepaudio", "nobody waits for this text any more", retryable=False)
                ids.append(number)
        found = from_ids(ids)
        if not found:
            raise EngineError("stepaudio", "the model wrote no token of sound")
        return found

    def prompt(self, instructed: Instructed, speaker: Speaker, like: Sequence[int]) -> list[int]:
        """What the model reads: how to speak, the recording as if it were an answer of its own, and the text."""
        system = self._system_texts.of(instructed, speaker.name)
        encode, within = self._tokenizer.encode, self._tokenizer.encode_within
        human, assistant = encode("human\n"), encode("assistant\n")
        return [
            BOS_ID,
            *(BEGIN_ID, *encode(f"system\n{system}"), END_ID),
            *(BEGIN_ID, *human, *within(speaker.text), END_ID),
            *(BEGIN_ID, *assistant, *to_ids(like), END_ID),
            *(BEGIN_ID, *human, *within(instructed.written()), END_ID),
            *(BEGIN_ID, *assistant),
        ]

    def warm_up(self) -> None:
        """Hear all built-in voices, so that the first text needs not to wait for it.

        Raises:
            VisageError: see `__call__`.
        """
        for name in self.speakers.names:
            self._likeness(*_heard(self.speakers.find(name)), music=False)

    def take_in(self, speaker: Speaker) -> None:
        """Another voice, whose recording is heard at once.

        Raises:
            VisageError: the recording cannot be imitated, or the name is taken: see `__call__` and `Speakers.add`.
        """
        self._likeness(*_heard(speaker), music=False)
        self.speakers.add(speaker)

    def _checked(self, given: str) -> Instructed:
        instructed = read_tags(given)
        if not any(map(str.isalnum, instructed.text)) or len(given) > TEXT_CHARACTERS_MAX:
            raise BadRequest(
                f"the text has {len(given)} characters; it must have a letter or digit beside its tags, and at most "
                f"{TEXT_CHARACTERS_MAX} characters",
                zh=f"文本共 {len(given)} 字；标签之外须有可朗读的内容，且不超过 {TEXT_CHARACTERS_MAX} 字",
            )
        return instructed

    def _recording(
        self, instructed: Instructed, name: str, clone: Mapping[str, Any] | None
    ) -> tuple[Speaker, Pcm, int]:
        """Whose voice it is to be, their recording and its rate."""
        if clone is None:
            speaker = self.speakers.find(name, instructed.music)
            return speaker, *_heard(speaker)
        source, said = clone.get("wav_path"), clone.get("prompt_text")
        if source is None or not isinstance(said, str) or not said.strip():
            raise BadRequest(
                "a voice is cloned from wav_path, a recording, and prompt_text, what is said in it",
                zh="克隆需要 wav_path（录音）和 prompt_text（录音的文字内容）",
            )
        pcm, rate_hz = sound.load_audio(source)
        if len(pcm) > PROMPT_S_MAX * rate_hz:
            raise BadRequest(
                f"the recording lasts {len(pcm) / rate_hz:.0f} s; at most {PROMPT_S_MAX:.0f} s are imitated",
                zh=f"录音长 {len(pcm) / rate_hz:.0f} 秒，最多 {PROMPT_S_MAX:.0f} 秒",
            )
        return Speaker("", said.strip(), Path()), pcm, rate_hz

    def _likeness(self, pcm: Pcm, rate_hz: int, music: bool) -> Likeness:
        """What a vocoder needs of a recording; remembered."""
        name = hashlib.sha256(f"{music} {rate_hz} ".encode() + pcm.tobytes()).digest()
        with self._lock:
            known = self._likenesses.get(name)
            if known is not None:
                self._likenesses.move_to_end(name)
                return known
        tokens = interleave(self._encoder.encode(pcm, rate_hz, trim=True))
        if not tokens:
            raise BadRequest("the recording is too short to imitate", zh="录音过短，无法模仿")
        made = self._vocoders[music].likeness(pcm, rate_hz, tokens)
        with self._lock:
            self._likenesses[name] = made
            while len(self._likenesses) > LIKENESSES_MAX:
                self._likenesses.popitem(last=False)
        return made


def _heard(speaker: Speaker) -> tuple[Pcm, int]:
    source = speaker.recording
    return sound.load_audio(io.BytesIO(source) if isinstance(source, bytes) else source)


def read_built_in(source: Path) -> Speakers:
    """The voices of a copy of the publishers' repository; none where there is none."""
    directory = source / "speakers"
    return speakers.read_speakers(directory) if directory.is_dir() else Speakers({})


def read_wording(source: Path) -> SystemTexts:
    """The publishers' wording where their `tts.py` is there, else our own."""
    try:
        return instructions.read_system_texts(source / "tts.py")
    except NotFound:
        return instructions.OWN
