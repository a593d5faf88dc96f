"""Kokoro-82M, int8: Chinese and English at about half a second of one core for a second of speech."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hibari.tts
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from errors import BadRequest, EngineError
from media import Pcm
from priority import cores
from text.clauses import spoken_s
from tts.base import Sound, Voice, Word
from tts.kokorodesign import Design
from tts.kokoronet import MAX_PHONEMES, SAMPLE_RATE_HZ, STYLE_SIZE, KokoroNetwork
from tts.phonemes import PUNCTUATION, TONES, Spelling, chunks
from tts.worker import Worker

if TYPE_CHECKING:
    from tts.speller import Speller

T = TypeVar("T")

log = logging.getLogger(__name__)

LONGEST_CHUNK_S = 4.5
FIRST_SOUND_S = 0.45
"""A hurried clause begins with as much as is expected to be made in this time."""
FIRST_CHUNK_MIN_S, FIRST_CHUNK_MAX_S = 1.3, 3.5
COST_AT_FIRST = 0.4
"""Seconds of work for a second of speech as `spoken_s` estimates it, before it was measured."""
HEARTBEAT_S = 1.0
STUCK_S = 20.0
"""No chunk takes half of that on a busy core."""
PATIENCE_S = 10.0
"""Who waits longer, behind too many others, is better served by the next engine."""
THREADS_MOST = 2
"""The first sound is there in six tenths of the time, where a second core is free; where none is, a tenth later."""
JOINT_DBFS = -40.0
JOINT_MS = 20
"""Silence left on each side of a cut between two words."""
LICENCE = "Apache-2.0"
MODELS = Path(__file__).resolve().parent.parent / "models" / "kokoro"
NETWORKS = ("model_quantized.onnx", "kokoro-v1.0.int8.onnx")
_DEFAULTS = ("zf_xiaoyi", "af_heart")
_LANGUAGES = {"a": ("en",), "b": ("en",), "z": ("zh", "en")}
_NOTHING = Sound(np.zeros(0, np.float32))
_AS_IT_IS = Design({})


class KokoroEngine:
    """Speaks clauses one after the other, in a thread that yields to the picture.

    Args:
        models: directory with one of NETWORKS and `voices/*.bin`.
    """

    name = "kokoro"
    sample_rate_hz = SAMPLE_RATE_HZ
    takes_speed = True
    takes_hurry = True

    def __init__(self, models: Path = MODELS) -> None:
        self._models = models
        self._worker = Worker("kokoro")
        self._network: KokoroNetwork | None = None
        self._speller: Speller | None = None
        self._vocabulary: dict[str, int] = {}
        self._silent_ids: set[int] = set()
        self._styles: dict[str, NDArray[np.float32]] = {}
        self._designed: tuple[str, Design, NDArray[np.float32]] | None = None
        """The style that was mixed last, and of what."""
        self._job_began = time.monotonic()
        self._cost = COST_AT_FIRST
        self._found: tuple[Voice, ...] = ()

    def voices(self) -> tuple[Voice, ...]:
        """The installed voices whose language can be spelt, the defaults first; looked for until some are found."""
        if not self._found and self._network_path():
            names = sorted(path.stem for path in (self._models / "voices").glob("*.bin"))
            names.sort(key=lambda name: name not in _DEFAULTS)
            self._found = tuple(
                Voice(f"kokoro:{name}", "kokoro", _LANGUAGES[name[0]], "female" if name[1] == "f" else "male", LICENCE)
                for name in names
                if name[0] in _LANGUAGES
            )
        return self._found

    def why_not(self) -> str | None:
        """None when network and voices are there."""
        if self.voices():
            return None
        return f"kokoro: no weights in {self._models}; `python app.py weights pull kokoro` fetches them"

    async def warm_up(self) -> None:
        """Load everything and speak once in each language, so that the first clause is as quick as the rest."""
        for language, text in (("zh", "你好，欢迎光临。"), ("en", "Good morning.")):
            voice = next((voice for voice in self.voices() if voice.languages[0] == language), None)
            if voice:
                async for _ in self.speak(text, voice, language):
                    pass

    async def speak(
        self,
        clause: str,
        voice: Voice,
        language: str,
        speed: float = 1.0,
        hurry: bool = False,
        design: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Sound, None]:
        """The clause, in chunks cut between words where it is long.

        An empty sound says that the work goes on. `hurry` makes the first chunk short. `design` changes the voice, as
        `kokorodesign.Design.of` takes it.

        Raises:
            BadRequest: the design is none, or of a voice that is not installed.
        """
        wanted = self._wanted(design) if design else _AS_IT_IS
        parts: list[list[Spelling]] = []
        spell = functools.partial(self._spell, clause, voice, language, hurry)
        async for found in self._watched(spell, onnxruntime.RunOptions()):
            parts = found or []
            yield _NOTHING
        begin_s = 0.0
        for number, part in enumerate(parts):
            options = onnxruntime.RunOptions()
            joints = (number > 0, number < len(parts) - 1)
            job = functools.partial(self._synthesise, part, voice, wanted, speed, joints, begin_s, options)
            async for sound in self._watched(job, options):
                yield sound or _NOTHING
                begin_s += sound.pcm.size / SAMPLE_RATE_HZ if sound else 0.0

    async def aclose(self) -> None:
        """End the thread and free the network."""
        await self._worker.aclose()
        self._network = None

    def _network_path(self) -> Path | None:
        return next((path for name in NETWORKS if (path := self._models / name).is_file()), None)

    async def _watched(self, job: Callable[[], T], options: onnxruntime.RunOptions) -> AsyncGenerator[T | None, None]:
        """None every HEARTBEAT_S while the worker is busy with this or an earlier job, then the job's result.

        After PATIENCE_S, or with a job that is stuck, there are no more of them, which lets the chain give up.
        """
        asked = time.monotonic()
        task = asyncio.ensure_future(self._worker.run(functools.partial(self._timed, job)))
        try:
            while not (await asyncio.wait({task}, timeout=HEARTBEAT_S))[0]:
                now = time.monotonic()
                if now - self._job_began < STUCK_S and now - asked < PATIENCE_S:
                    yield None
            yield task.result()
        finally:
            options.terminate = True
            task.cancel()

    def _timed(self, job: Callable[[], T]) -> T:
        """In the worker: note when the job began."""
        self._job_began = time.monotonic()
        return job()

    def _spell(self, clause: str, voice: Voice, language: str, hurry: bool) -> list[list[Spelling]]:
        """In the worker: the clause's chunks of phonemes."""
        if self._speller is None:
            from tts.speller import Speller

            self._speller = Speller(self._models.parent / ".cache")
        spellings = self._speller.spell(clause, language, british=voice.id.startswith("kokoro:b"))
        first_s = min(FIRST_CHUNK_MAX_S, max(FIRST_CHUNK_MIN_S, FIRST_SOUND_S / self._cost))
        return chunks(spellings, LONGEST_CHUNK_S, first_s if hurry else None)

    def _synthesise(
        self,
        part: list[Spelling],
        voice: Voice,
        design: Design,
        speed: float,
        joints: tuple[bool, bool],
        begin_s: float,
        options: onnxruntime.RunOptions,
    ) -> Sound:
        """In the worker: a chunk's sound and its words; `begin_s` is how much of the clause came before."""
        network = self._loaded()
        ids, spans = self._ids(part)
        if not ids:
            return _NOTHING
        silent = next((n for n, i in enumerate(reversed(ids)) if i not in self._silent_ids), len(ids) - 1)
        style = self._designed_style(voice, design)[min(len(ids), MAX_PHONEMES) - 1]
        began = time.monotonic()
        formants = design.formants
        pcm, at_s = network.run(ids, style, speed / formants, silent, options, design.pitch / formants)
        pcm, at_s = design.played(pcm), at_s / formants
        expected_s = spoken_s("".join(spelling.text for spelling in part))
        if expected_s > 0.5:
            self._cost = 0.7 * self._cost + 0.3 * (time.monotonic() - began) / expected_s
        pcm, cut_s = _trimmed(pcm, *joints)
        length_s = pcm.size / SAMPLE_RATE_HZ
        begins, ends = np.clip((at_s[:-1] - cut_s, at_s[1:] - cut_s), 0.0, length_s) + begin_s
        words = [Word(text, float(begins[first]), float(ends[last - 1])) for text, first, last in spans]
        return Sound(pcm, tuple(words))

    def _ids(self, part: list[Spelling]) -> tuple[list[int], list[tuple[str, int, int]]]:
        """Phoneme ids of a chunk, and of each word the first of its ids and the one behind it."""
        ids: list[int] = []
        spans: list[tuple[str, int, int]] = []
        for spelling in part:
            own = [self._vocabulary[c] for c in spelling.phonemes if c in self._vocabulary]
            if own == ids[-1:] and not spelling.spoken:
                continue
            if spelling.spoken and own:
                if ids and ids[-1] != self._vocabulary[" "]:
                    ids.append(self._vocabulary[" "])
                spans.append((spelling.text, len(ids), len(ids) + len(own)))
            ids += own
        if len(ids) > MAX_PHONEMES:
            log.warning(
                "kokoro: %d phonemes at once are too many, the last %d are lost", len(ids), len(ids) - MAX_PHONEMES
            )
            del ids[MAX_PHONEMES:]
        return ids, [(text, first, last) for text, first, last in spans if last <= len(ids)]

    def _loaded(self) -> KokoroNetwork:
        if self._network is None:
            # The same alphabet: hibari learnt from Kokoro.
            vocabulary = Path(hibari.tts.ASSETS, "vocab.json").read_text(encoding="utf-8")
            self._vocabulary = {str(token): int(number) for token, number in json.loads(vocabulary).items()}
            self._silent_ids = {self._vocabulary[c] for c in PUNCTUATION + TONES if c in self._vocabulary}
            path = self._network_path()
            if path is None:
                raise EngineError(self.name, self.why_not() or "no weights")
            self._network = KokoroNetwork(path, min(THREADS_MOST, cores()))
        return self._network

    def _wanted(self, facts: Mapping[str, Any]) -> Design:
        design = Design.of(facts)
        known = {voice.id.removeprefix("kokoro:") for voice in self.voices()}
        if missing := sorted(set(design.timbre) - known):
            raise BadRequest(f"design: timbre names {missing[0]!r}, which is no voice of Kokoro that is installed")
        return design

    def _designed_style(self, voice: Voice, design: Design) -> NDArray[np.float32]:
        """In the worker: the voice's style, changed; one is kept, since a clause has several chunks."""
        if self._designed is None or self._designed[:2] != (voice.id, design):
            packs = {name: self._style(name) for name in design.timbre}
            self._designed = (voice.id, design, design.style(self._style(voice.id.split(":", 1)[1]), packs))
        return self._designed[2]

    def _style(self, name: str) -> NDArray[np.float32]:
        """[phonemes, 1, STYLE_SIZE]: a voice, by how many phonemes are spoken at once."""
        if name not in self._styles:
            path = self._models / "voices" / f"{name}.bin"
            self._styles[name] = np.fromfile(path, np.float32).reshape(-1, 1, STYLE_SIZE)
        return self._styles[name]


def _trimmed(pcm: Pcm, at_start: bool, at_end: bool) -> tuple[Pcm, float]:
    """Cut the silence at the joints; returns the sound and the seconds cut from its start."""
    loud = np.flatnonzero(np.abs(pcm) > 10 ** (JOINT_DBFS / 20))
    if not loud.size:
        return pcm, 0.0
    margin = SAMPLE_RATE_HZ * JOINT_MS // 1000
    begin = max(0, int(loud[0]) - margin) if at_start else 0
    end = int(loud[-1]) + margin if at_end else pcm.size
    return pcm[begin:end], begin / SAMPLE_RATE_HZ
