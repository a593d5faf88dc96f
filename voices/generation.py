"""`Generation`: texts said into files that are kept, and into streams that are not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from errors import Busy, EngineError, NotFound, VisageError
from tts.library import PREFIX, RATE_HZ
from voices.catalogue import Page, contains, folded
from voices.database import Database
from voices.encoding import FORMATS, Encoder
from voices.marking import Marker, provenance
from voices.outbox import Outbox
from voices.people import User
from voices.provenance import tags
from voices.readers import AnyReader, Readers
from voices.reading import clauses_of, read_aloud
from voices.removal import cache_prefix
from voices.schema import SpeechRow, new_id, utc_now
from voices.shared import Shared
from voices.storage.base import Missing, Storage
from voices.storage.keys import speech_key
from voices.usage import Spoken, UsageBook
from voices.watermark import Watermark

AT_ONCE = 2
"""Texts being said; sessions speak beside them."""
WAITING_MAX = 32
CACHED_S = 86_400


class MakerFailed(VisageError):
    """Whoever speaks for a voice failed."""

    status = 502
    code = "engine_failed"
    zh = "语音生成失败，请稍后重试"
    retryable = True


class Generation:
    """Says texts.

    Args:
        database: what was generated.
        storage: whether a file is still there.
        outbox: through which files get into storage.
        readers: the voices.
        usage: where it is counted.
        shared: what was streamed lately.
        watermark: laid into all speech, where it is installed.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        outbox: Outbox,
        readers: Readers,
        usage: UsageBook,
        shared: Shared,
        watermark: Watermark,
    ) -> None:
        self._database = database
        self._storage = storage
        self._outbox = outbox
        self._readers = readers
        self._usage = usage
        self._shared = shared
        self._watermark = watermark
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._saying: dict[str, asyncio.Lock] = {}
        self._encoders = ThreadPoolExecutor(1, thread_name_prefix="speech-encode")
        self.seconds = 0.0
        self.cached = 0

    async def generate(
        self, user: User, voice: str, text: str, *, model: str, format: str, speed: float, language: str
    ) -> tuple[SpeechRow, bool]:
        """Say a text into a file that is kept: its row, and whether it was there already.

        Raises:
            NotFound, BadRequest, NoMaker: of the voice; see `Readers.find`.
            Unprocessable: nothing in the text can be said, or not by this voice.
            Busy: too many texts wait to be said.
            MakerFailed: whoever speaks failed.
            StorageUnavailable, DatabaseUnavailable: nothing is kept.
        """
        reader = await self._readers.find(voice, user, model, language)
        clauses = clauses_of(text, reader, language)
        mark = fingerprint(reader, text, format, speed, language)
        async with self._alone(f"{user.id}{mark}"):
            known = await self._known(user, mark)
            if known is not None:
                self.cached += 1
                return known, True
            row = self._row(user, reader, text, mark, format, speed)
            encoder = self._encoder(row.id, reader, format, whole=True)
            async with contextlib.aclosing(self._encoded(clauses, reader, speed, encoder)) as parts:
                data = b"".join([part async for part in parts])
            row.duration = encoder.seconds
            return await self._keep(row, data, Spoken(1, len(text), encoder.seconds))

    async def stream(
        self, user: User, voice: str, text: str, *, format: str, speed: float, language: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Say a text into a file of which the beginning is there before its end is made; it is not kept.

        Raises:
            as `generate`.
        """
        reader = await self._readers.find(voice, user, language=language)
        clauses = clauses_of(text, reader, language)
        key = cache_prefix(reader.id) + fingerprint(reader, text, format, speed, language)
        found = await self._shared.get(key)
        if found is not None:
            self.cached += 1
            yield found
            return
        encoder = self._encoder(new_id("tts"), reader, format, whole=False)
        sent = bytearray()
        async with contextlib.aclosing(self._encoded(clauses, reader, speed, encoder)) as parts:
            async for part in parts:
                sent += part
                yield part
        await self._shared.set(key, bytes(sent), CACHED_S)
        self._usage.note(user.id, reader.id, Spoken(1, len(text), encoder.seconds))

    def _encoder(self, content_id: str, reader: AnyReader, format: str, *, whole: bool) -> Encoder:
        """A file that says where it comes from."""
        facts = provenance(content_id, reader.model, reader.id, cloned=reader.cloned)
        return Encoder(format, tags(facts), whole=whole, marker=Marker(self._watermark, RATE_HZ))

    async def _encoded(
        self, clauses: list[tuple[str, str]], reader: AnyReader, speed: float, encoder: Encoder
    ) -> AsyncGenerator[bytes, None]:
        """The file, piece by piece."""
        loop = asyncio.get_running_loop()
        async with self._place():
            try:
                async with contextlib.aclosing(read_aloud(clauses, reader, speed)) as pieces:
                    async for pcm in pieces:
                        if part := await loop.run_in_executor(self._encoders, encoder.feed, pcm):
                            yield part
            except EngineError as error:
                if error.code != EngineError.code:  # it says itself what it means for whoever asked
                    raise
                raise MakerFailed(f"the voice {reader.name!r} could not speak: {error}") from error
            if part := await loop.run_in_executor(self._encoders, encoder.finish):
                yield part
            self.seconds += encoder.seconds

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncGenerator[None, None]:
        if self._waiting >= WAITING_MAX:
            raise Busy(f"{WAITING_MAX} texts wait to be said: try again in a few seconds")
        self._waiting += 1
        try:
            async with self._places:
                yield
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def _alone(self, mark: str) -> AsyncGenerator[None, None]:
        """The same asked for twice at once is said once."""
        lock = self._saying.setdefault(mark, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._saying.pop(mark, None)

    async def _known(self, user: User, mark: str) -> SpeechRow | None:
        async with self._database.reading() as session:
            row: SpeechRow | None = await session.scalar(
                select(SpeechRow).where(SpeechRow.user_id == user.id, SpeechRow.fingerprint == mark)
            )
        if row is None:
            return None
        try:
            await self._storage.size(row.audio_path)
        except Missing:  # somebody tidied up by hand
            async with self._database.writing() as session:
                await session.delete(await session.merge(row, load=False))
            return None
        self._usage.note(user.id, row.voice, Spoken(1, len(row.input_text), 0.0))
        return row

    def _row(self, user: User, reader: AnyReader, text: str, mark: str, format: str, speed: float) -> SpeechRow:
        now = utc_now()
        return SpeechRow(
            id=new_id("tts"),
            user_id=user.id,
            voice_id=reader.voice_id,
            voice=reader.id,
            input_text=text,
            search=folded(text),
            fingerprint=mark,
            model=reader.model,
            format=format,
            speed=speed,
            audio_path=speech_key(reader.id, FORMATS[format].suffix, now),
            duration=0.0,
            created_at=now,
        )

    async def _keep(self, row: SpeechRow, data: bytes, spoken: Spoken) -> tuple[SpeechRow, bool]:
        try:
            async with (
                self._outbox.writing({row.audio_path: data}) as written,
                self._database.writing() as session,
            ):
                session.add(row)
                await session.flush()
                await self._usage.write(session, row.user_id, row.voice, spoken)
                await written.keep(session)
        except IntegrityError as error:
            known = await self._known(User(row.user_id, ""), row.fingerprint)
            if known is None:  # the voice was deleted while it spoke
                raise NotFound(f"voice {row.voice!r} does not exist any more") from error
            return known, True
        return row, False

    async def get(self, request_id: str, user: User | None) -> SpeechRow:
        """A generation.

        Args:
            request_id: which.
            user: whose it must be; None for whoever has a signed address.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        async with self._database.reading() as session:
            row = await session.get(SpeechRow, request_id)
        if row is None or (user is not None and row.user_id != user.id):
            raise NotFound(f"generation {request_id!r} does not exist, or was deleted")
        return row

    async def history(self, user: User, voice: str, q: str, page: int, size: int) -> Page[SpeechRow]:
        """What a user generated, newest first."""
        conditions: list[Any] = [SpeechRow.user_id == user.id, *contains(SpeechRow.search, q)]
        if voice:
            conditions.append(SpeechRow.voice == voice.removeprefix(PREFIX))
        async with self._database.reading() as session:
            total = await session.scalar(select(func.count()).select_from(SpeechRow).where(*conditions)) or 0
            rows = await session.scalars(
                select(SpeechRow)
                .where(*conditions)
                .order_by(SpeechRow.created_at.desc(), SpeechRow.id.desc())
                .offset((page - 1) * size)
                .limit(size)
            )
            return Page(rows.all(), total, page, size)

    async def aclose(self) -> None:
        """End the thread."""
        await asyncio.to_thread(self._encoders.shutdown, wait=True, cancel_futures=True)


def fingerprint(reader: AnyReader, text: str, format: str, speed: float, language: str) -> str:
    """Of everything that decides the sound."""
    parts = [reader.id, reader.model, text, format, f"{speed:.3f}", language, RATE_HZ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
