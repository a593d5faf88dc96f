"""`StepAudioTokenizer`: sound in, tokens out, whole or as it comes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from media import SAMPLE_RATE_HZ, Pcm
from stepaudio import layout, linguistic, semantic, sound
from stepaudio.codes import Codes, Interleaver, interleave, to_ids, to_text
from stepaudio.linguistic import LinguisticStream, LinguisticTokenizer
from stepaudio.semantic import WINDOW_SAMPLES, SemanticTokenizer
from stepaudio.sessions import SESSIONS_MAX, TIME_TO_LIVE_S, Sessions

REMEMBERED_MAX = 64
"""Recordings whose codes are kept: a conversation brings the same ones with every turn."""


class TokenStream:
    """The tokens of one stream of sound; any portions of the same sound give the same tokens.

    Args:
        tokenizer: both of its codebooks.
        window_samples: see `SemanticStream`.
    """

    def __init__(self, tokenizer: StepAudioTokenizer, window_samples: int = WINDOW_SAMPLES) -> None:
        self._linguistic = tokenizer.linguistic.stream()
        self._semantic = tokenizer.semantic.stream(window_samples)
        self._interleaver = Interleaver()

    def feed(self, pcm: Pcm) -> list[int]:
        """The tokens, 0..5119, of the groups that are whole now.

        Args:
            pcm: at 16 kHz, any length; its level is not changed.

        Raises:
            EngineError: the semantic tokenizer failed.
        """
        return self._interleaver.add(self._linguistic.feed(pcm), self._semantic.feed(pcm))

    def finish(self) -> list[int]:
        """The last tokens. Nothing may be fed any more.

        Raises:
            EngineError: the semantic tokenizer failed.
        """
        return self._interleaver.add(self._linguistic.finish(), self._semantic.finish())


class StepAudioTokenizer:
    """Both codebooks. Thread-safe; `close` ends its threads.

    Args:
        linguistic: `vq02`.
        semantic: `vq06`.
        time_to_live_s: of a session after its last use.
        sessions_max: at a time.
        clock: for the sessions.
    """

    def __init__(
        self,
        linguistic: LinguisticTokenizer,
        semantic: SemanticTokenizer,
        *,
        time_to_live_s: float = TIME_TO_LIVE_S,
        sessions_max: int = SESSIONS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.linguistic = linguistic
        self.semantic = semantic
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="stepaudio-tokenizer")
        self._remembered: OrderedDict[bytes, Codes] = OrderedDict()
        self._lock = threading.Lock()
        limits = (time_to_live_s, sessions_max, clock)
        self._vq02_sessions: Sessions[LinguisticStream] = Sessions(linguistic.stream, *limits)
        self._sessions: Sessions[TokenStream] = Sessions(lambda: TokenStream(self), *limits)

    @classmethod
    def load(cls, encoder_path: str | Path, device: str = "cpu") -> StepAudioTokenizer:
        """Of a published `Step-Audio-Tokenizer`.

        Args:
            encoder_path: its directory.
            device: torch's name of where it works.

        Raises:
            NotFound: a file is missing.
            Unprocessable: one is damaged, or of another network.
        """
        directory = Path(encoder_path)
        layout.check(layout.TOKENIZER, directory)
        return cls(linguistic.load(directory, device), semantic.load(directory, device))

    def __call__(self, audio: Pcm, sr: int) -> str:
        """A recording as text, `<audio_12><audio_1034>...`, not trimmed.

        Raises:
            Unprocessable: it is no sound.
            EngineError: the semantic tokenizer failed.
        """
        return to_text(interleave(self.encode(audio, sr)))

    def encode(self, audio: Pcm, sr: int, *, trim: bool = False, normalise: bool = True) -> Codes:
        """The codes of a recording; both codebooks work at the same time, and what was heard before is remembered.

        Args:
            audio: samples of one channel.
            sr: their rate in Hz.
            trim: whether silence at its ends is cut off, as of recordings to imitate.
            normalise: whether its peak is raised.

        Raises:
            Unprocessable: it is no sound.
            EngineError: the semantic tokenizer failed.
        """
        pcm = self.preprocess_wav(audio, sr, enable_trim=trim, energy_norm=normalise)
        name = hashlib.sha256(pcm.tobytes()).digest()
        with self._lock:
            known = self._remembered.get(name)
            if known is not None:
                self._remembered.move_to_end(name)
                return known
        first = self._pool.submit(self.linguistic.codes, pcm)
        second = self._pool.submit(self.semantic.codes, pcm)
        codes = Codes(tuple(first.result()), tuple(second.result()))
        with self._lock:
            self._remembered[name] = codes
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return codes

    def preprocess_wav(self, audio: Pcm, sr: int, *, enable_trim: bool = True, energy_norm: bool = True) -> Pcm:
        """What both codebooks hear of a recording, at 16 kHz.

        Raises:
            Unprocessable: it is no sound.
        """
        pcm = sound.to_rate(sound.checked(audio), sr)
        if energy_norm:
            pcm = sound.normalised(pcm)
        return sound.trimmed(pcm) if enable_trim else pcm

    def wav2token(
        self, audio: Pcm, sr: int, enable_trim: bool = True, energy_norm: bool = True
    ) -> tuple[list[int], list[int], list[int]]:
        """A recording as a language model's ids, and the codes of both codebooks.

        Raises:
            Unprocessable: it is no sound.
            EngineError: the semantic tokenizer failed.
        """
        codes = self.encode(audio, sr, trim=enable_trim, normalise=energy_norm)
        return to_ids(interleave(codes)), list(codes.linguistic), list(codes.semantic)

    def get_vq02_code(self, audio: Pcm, session_id: str | None = None, is_final: bool = True) -> list[int]:
        """Linguistic codes of sound at 16 kHz, of a session's next portion where one is named.

        Without a session the sound is heard by itself, and is always the last of it.

        Raises:
            Unprocessable: it is no sound.
            BadRequest, Busy, Conflict: see `Sessions.use`.
        """
        pcm = sound.checked(audio)
        if session_id is None:
            return self.linguistic.codes(pcm)
        with self._vq02_sessions.use(session_id, last=is_final) as stream:
            return stream.feed(pcm) + (stream.finish() if is_final else [])

    def get_vq06_code(self, audio: Pcm) -> list[int]:
        """Semantic codes of sound at 16 kHz.

        Raises:
            Unprocessable: it is no sound.
            EngineError: the semantic tokenizer failed.
        """
        return self.semantic.codes(sound.checked(audio))

    def merge_vq0206_to_token_str(self, vq02: list[int], vq06: list[int]) -> str:
        """The codes of both codebooks as text, whole groups only.

        Raises:
            Unprocessable: a code is outside its codebook.
        """
        return to_text(interleave(Codes(tuple(vq02), tuple(vq06))))

    def feed(self, session_id: str, audio: Pcm, is_final: bool = False) -> list[int]:
        """Tokens, 0..5119, of a session's next portion of sound at 16 kHz; its level is not changed.

        Semantic codes are heard in windows of 30 s, so tokens come after each of them and at the end. The tokens of all
        portions are those of the whole sound.

        Raises:
            EngineError: the semantic tokenizer failed; the session is then over.
            BadRequest, Busy, Conflict: see `Sessions.use`.
        """
        pcm = np.asarray(audio, np.float32).reshape(-1)
        with self._sessions.use(session_id, last=is_final) as stream:
            return stream.feed(pcm) + (stream.finish() if is_final else [])

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions) + len(self._vq02_sessions)

    @property
    def rate_hz(self) -> int:
        """Of the sound that sessions take."""
        return SAMPLE_RATE_HZ

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
