"""`Readers`: a voice by its name, ready to say something: one of the library's, or one that is built in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import joinedload

from errors import BadRequest, NotFound
from tts import traits
from tts.base import Sound, SpeechEngine, Voice
from tts.chain import Chain
from tts.library import NAME, PREFIX
from voices.catalogue import no_voice, visible_to
from voices.cloning.base import VoiceMaker
from voices.cloning.build import Makers, NoMaker
from voices.database import Database
from voices.figures import LibraryFigures, timed
from voices.people import User
from voices.schema import VoiceRow

OPENAI_VOICES: Mapping[str, str] = {
    **dict.fromkeys(("alloy", "coral", "fable", "marin", "nova", "sage", "shimmer"), "female"),
    **dict.fromkeys(("ash", "ballad", "cedar", "echo", "onyx", "verse"), "male"),
}
"""Names that OpenAI's clients send unasked, and who is meant."""


OWNERS_MAX = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class MadeVoice:
    """A voice of the library; see `tts.library.Reader`."""

    id: str
    name: str
    languages: tuple[str, ...]
    model: str
    voice_id: str | None
    """In the library."""
    rate_hz: int
    maker: VoiceMaker
    step_voice_id: str
    recipe: Mapping[str, Any]
    gender: str
    cloned: bool
    """Whether it is the voice of a person who was recorded."""
    figures: LibraryFigures

    async def say(self, clause: str, language: str, speed: float) -> AsyncGenerator[Sound, None]:
        """See `tts.library.Reader`."""
        sounds: Any = self.maker.speak(self.step_voice_id, self.recipe, clause, language, self.model, speed)
        with timed(self.figures.calls_s, maker=self.maker.name, call="speak"):
            async with contextlib.aclosing(sounds):
                async for sound in sounds:
                    yield sound


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltInVoice:
    """A voice of a speech engine; see `tts.library.Reader`."""

    id: str
    name: str
    languages: tuple[str, ...]
    model: str
    voice_id: None
    rate_hz: int
    engine: SpeechEngine
    voice: Voice
    cloned: bool = False

    def say(self, clause: str, language: str, speed: float) -> AsyncIterator[Sound]:
        """See `tts.library.Reader`."""
        return self.engine.speak(clause, self.voice, language, **traits.options(self.engine, speed, False, ""))


AnyReader = MadeVoice | BuiltInVoice


class Readers:
    """Finds voices.

    Args:
        database: of the library.
        makers: who speaks its voices.
        chain: the speech engines, where there are any.
        figures: where it is noted how makers speak.
    """

    def __init__(
        self, database: Database, makers: Makers, chain: Callable[[], Chain | None], figures: LibraryFigures
    ) -> None:
        self._figures = figures
        self._database = database
        self._makers = makers
        self._chain = chain
        self.owners: dict[str, str] = {}
        """Of voices that sessions had lately, whose they are."""

    async def find(
        self, name: str, user: User, model: str = "", language: str = "", *, public: bool = False
    ) -> AnyReader:
        """A voice that a user may have speak.

        Args:
            name: id of a voice of the library, also with `library:`, id or short name of a built-in one, or one of
                OpenAI's names, for which the server's own voice stands in.
            user: who asks.
            model: with which the library's voice is to speak; empty: its own.
            language: in which, where only OpenAI's name was given.
            public: not even a voice of the user's own, unless it is public.

        Raises:
            NotFound: there is none of that name.
            BadRequest: it does not speak with that model.
            NoMaker: who made it cannot be asked now.
        """
        voice_id = name.removeprefix(PREFIX)
        if voice_id.startswith("voice-"):
            visible = VoiceRow.public.is_(True) if public else visible_to(user)
            return await self._made(voice_id, model, visible)
        return self._built_in(name, language)

    def as_voice(self, reader: AnyReader) -> Voice:
        """As the chain of speech engines knows it."""
        if isinstance(reader, BuiltInVoice):
            return reader.voice
        return Voice(PREFIX + reader.id, NAME, reader.languages, reader.gender or "neutral", "LicenseRef-private")

    async def admitted(self, voice_id: str) -> MadeVoice:
        """A voice of the library that somebody was let have before.

        Raises:
            NotFound: it is gone.
            NoMaker: who made it cannot be asked now.
        """
        return await self._made(voice_id, "", true())

    async def _made(self, voice_id: str, model: str, visible: ColumnElement[bool]) -> MadeVoice:
        async with self._database.reading() as session:
            row = await session.scalar(
                select(VoiceRow).where(VoiceRow.id == voice_id, visible).options(joinedload(VoiceRow.user))
            )
        if row is None:
            raise no_voice(voice_id)
        maker = self._makers.named(row.maker)
        if maker is None or (reason := maker.why_not()):
            lack = "is not configured" if maker is None else reason
            raise NoMaker(f"voice {row.name!r} was made by {row.maker}, which cannot be asked now: {lack}")
        if model and model not in (row.model, *maker.models):
            raise BadRequest(f"model was {model!r}; this voice speaks with {', '.join(maker.models)}")
        if len(self.owners) >= OWNERS_MAX:
            self.owners.clear()
        self.owners[row.id] = row.user_id
        return MadeVoice(
            id=row.id,
            name=row.name,
            languages=tuple(row.languages),
            model=model or row.model,
            voice_id=row.id,
            rate_hz=maker.sample_rate_hz,
            maker=maker,
            step_voice_id=row.step_voice_id,
            recipe=row.recipe,
            gender=row.gender,
            cloned=row.clones,
            figures=self._figures,
        )

    def _built_in(self, name: str, language: str) -> BuiltInVoice:
        chain = self._chain()
        voice = None if chain is None else chain.find_voice(name)
        if voice is None and chain is not None and name in OPENAI_VOICES:
            voice = stand_in(chain, OPENAI_VOICES[name], language)
        if chain is None or voice is None or voice.engine == NAME:
            raise NotFound(f"voice {name[:80]!r} does not exist; GET /api/voices lists those that do")
        engine = next(engine for engine in chain.engines if engine.name == voice.engine)
        return BuiltInVoice(
            id=voice.id,
            name=voice.id.partition(":")[2],
            languages=voice.languages,
            model=voice.engine,
            voice_id=None,
            rate_hz=engine.sample_rate_hz,
            engine=engine,
            voice=voice,
        )


def stand_in(chain: Chain, gender: str, language: str) -> Voice | None:
    """The first voice of a language that fits; the default voice where that speaks it."""
    default = chain.default_voice
    if default is not None and language in default.languages:
        return default
    engines = [engine for engine in chain.engines if traits.stands_in(engine)]
    fitting = [voice for engine in engines for voice in engine.voices() if language in voice.languages]
    return next((voice for voice in fitting if voice.gender == gender), fitting[0] if fitting else None)
