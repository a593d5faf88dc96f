"""`StepAudio`: conversations in text and sound, answered in both, by tokenizer, talking and speaking model together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from errors import EngineError
from media import Pcm
from stepaudio import chat, checkpoints, layout, sound, text
from stepaudio.chat import Message
from stepaudio.codes import without_tokens
from stepaudio.generation import Model, Sampling, generate
from stepaudio.instructions import read_tags
from stepaudio.text import TextTokenizer
from stepaudio.tokenizer import StepAudioTokenizer
from stepaudio.tts import TEXT_CHARACTERS_MAX, StepAudioTTS

SAMPLING = Sampling()


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; unpacks as text, audio and rate."""

    text: str
    audio: Pcm
    """float32 [n]."""
    rate_hz: int

    def __iter__(self) -> Iterator[Any]:
        return iter((self.text, self.audio, self.rate_hz))


class StepAudio:
    """The published system. Thread-safe; `close` ends its threads.

    Args:
        model: the talking model.
        tokenizer: its text.
        encoder: makes tokens of sound.
        decoder: speaks the answers.
        sampling: how an answer is drawn; None: SAMPLING.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: TextTokenizer,
        encoder: StepAudioTokenizer,
        decoder: StepAudioTTS,
        sampling: Sampling | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling or SAMPLING
        self.encoder = encoder
        self.decoder = decoder

    @classmethod
    def load(
        cls, tokenizer_path: str | Path, tts_path: str | Path, llm_path: str | Path, devices: Sequence[str] = ("cpu",)
    ) -> StepAudio:
        """Of the three published parts.

        Args:
            tokenizer_path: `Step-Audio-Tokenizer`.
            tts_path: `Step-Audio-TTS-3B`.
            llm_path: `Step-Audio-Chat`; 265 GB of GPU memory.
            devices: torch's names of where the models go; the small ones go to the first.

        Raises:
            NotFound: a file is missing.
            Unprocessable: one is damaged, or of another network.
            Unavailable: the devices have not enough memory.
        """
        directory, get = Path(llm_path), layout.command(layout.CHAT)
        layout.check(layout.CHAT, directory)
        encoder = StepAudioTokenizer.load(tokenizer_path, devices[0])
        try:
            decoder = StepAudioTTS.load(tts_path, encoder, devices=devices[:1])
            model = checkpoints.load_step1(directory, get, devices)
            return cls(model, text.load(directory, get), encoder, decoder)
        except BaseException:
            encoder.close()
            raise

    def __call__(
        self,
        messages: Sequence[Message],
        speaker_id: str,
        speed_ratio: float = 1.0,
        volumn_ratio: float = 1.0,
        *,
        tags: str = "",
        seed: int | None = None,
    ) -> Answer:
        """The answer to a conversation, written and spoken.

        Args:
            messages: of `chat`'s form; the `audio` of a part is a path or an open file.
            speaker_id: a built-in voice.
            speed_ratio: 0.5 to 2.
            volumn_ratio: 0.1 to 10.
            tags: how an answer is spoken that has none of its own, as `(高兴1)(慢速1)`.
            seed: of all that is drawn; None: another one each time.

        Raises:
            BadRequest: a message is of another form, or a ratio out of its bounds.
            NotFound: there is no such voice or recording.
            Unprocessable: a recording is no sound.
            TooLarge: the conversation is longer than the model attends to.
            EngineError: the model wrote nothing.
            Unavailable: the GPU's memory ran out.
        """
        sound.check_ratios(speed_ratio, volumn_ratio)
        self.decoder.speakers.find(speaker_id)
        written = "".join(self.write(messages, seed=seed))
        said = written[: TEXT_CHARACTERS_MAX - len(tags)]
        spoken = said if read_tags(said).tags else tags + said
        audio, rate_hz = self.decoder(spoken, speaker_id, speed_ratio=speed_ratio, volumn_ratio=volumn_ratio, seed=seed)
        return Answer(written, audio, rate_hz)

    def write(self, messages: Sequence[Message], *, seed: int | None = None) -> Iterator[str]:
        """The text of an answer as it is written; closing the iterator ends the work.

        Raises:
            VisageError: see `__call__`.
        """
        prompt = self._tokenizer.encode_conversation(self.apply_chat_template(messages))
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        ids = generate(self._model, prompt, self._sampling, generator=generator)
        said = False
        for piece in self._pieces(ids):
            said = said or bool(piece.strip())
            yield piece
        if not said:
            raise EngineError("stepaudio", "the model wrote an answer without a word")

    def encode_audio(self, audio_path: Any) -> str:
        """A recording, by its path or as an open file, as the text `<audio_12><audio_1034>...`.

        Raises:
            NotFound: there is no such file.
            Unprocessable: it is no sound, or cut off.
            TooLarge: longer than `sound.LONGEST_S`.
        """
        return self.encoder(*sound.load_audio(audio_path))

    def apply_chat_template(self, messages: Sequence[Message]) -> str:
        """What the talking model reads of a conversation.

        Raises:
            VisageError: see `__call__`.
        """
        return chat.template(messages, self.encode_audio)

    def _pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text as far as its characters are whole, without tokens of sound."""
        written: list[int] = []
        said = ""
        for number in ids:
            written.append(number)
            so_far = without_tokens(self._tokenizer.decode(written))
            if len(so_far) > len(said) and not so_far.endswith("\ufffd"):
                yield so_far[len(said) :]
                said = so_far

    def close(self) -> None:
        """End its threads."""
        self.encoder.close()
