"""`Creator`: makes the voices that are asked for, one stage after the other, a few at a time.

Everything of a voice becomes visible in one transaction at the end: its row, its consent, its preview, and that the
job is done. Until then a crash leaves the job as it was, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from errors import Busy, EngineError, VisageError
from voices.clips import heard, opened
from voices.cloning.base import Clip, Made, VoiceMaker
from voices.cloning.build import Makers, is_local
from voices.database import Database, DatabaseUnavailable
from voices.embeddings import Embeddings
from voices.figures import LibraryFigures, timed
from voices.jobs import LEASE_S, Jobs, TakenOver
from voices.marking import marked_wav, provenance
from voices.outbox import Outbox
from voices.sampling import sample_text_for, speak_sample
from voices.schema import EmbeddingRow, FileRow, JobRow, VoiceRow
from voices.storage.base import Storage
from voices.voicerow import voice_row
from voices.watermark import Watermark

AT_ONCE = 2
POLL_S = 15.0
"""Jobs of processes that died are looked for so often."""
MAKE_TIMEOUT_S = 180.0
REPORT_EVERY_S = 0.5
SHARES = {"checking": 0.05, "embedding": 0.2, "cloning": 0.35, "sampling": 0.85}
"""Where each stage begins, of the whole."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What voices are made with."""

    database: Database
    storage: Storage
    outbox: Outbox
    jobs: Jobs
    embeddings: Embeddings
    makers: Makers
    watermark: Watermark
    figures: LibraryFigures


class Creator:
    """`start` begins to make voices, `aclose` stops and gives back what is not done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._run(), name=f"voice creation {number}") for number in range(AT_ONCE)]

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        jobs = self._parts.jobs
        async with jobs.shared.listening("new") as news:
            while True:
                news.clear()
                try:
                    await jobs.recover()
                    while (job := await jobs.claim()) is not None:
                        await self._work(job)
                except VisageError as error:
                    log.warning("voices wait to be made: %s", error)
                except Exception:
                    log.exception("voices wait to be made")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await news.wait()

    async def _work(self, job: JobRow) -> None:
        """One job to its end, whatever comes."""
        jobs = self._parts.jobs
        try:
            with timed(self._parts.figures.creations_s, maker=job.request["maker"]):
                async with self._claimed(job):
                    await Making(self._parts, job).run()
            await jobs.shared.tell(job.id)
        except asyncio.CancelledError:
            with contextlib.suppress(VisageError):
                await asyncio.shield(jobs.give_back(job))
            raise
        except DatabaseUnavailable:
            raise  # its claim runs out, and it is taken up again
        except TakenOver as error:
            log.info("%s", error)
        except VisageError as error:
            log.info("job %s: no voice: %s", job.id, error)
            await jobs.fail(job, problem(error), retryable=error.status >= 500 or error.status == Busy.status)
        except Exception:
            log.exception("job %s failed", job.id)
            await jobs.fail(job, UNFORESEEN, retryable=True)

    @contextlib.asynccontextmanager
    async def _claimed(self, job: JobRow) -> AsyncIterator[None]:
        """The claim on a job renewed while the block runs."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_S / 4)
                with contextlib.suppress(VisageError):
                    await self._parts.jobs.renew(job)

        task = asyncio.create_task(renew(), name=f"claim of {job.id}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


UNFORESEEN: Mapping[str, Any] = {
    "code": "internal_error",
    "message": "an unexpected error, logged under the job's id",
    "details": {"zh": "意外错误，已按任务编号记入日志"},
}


def problem(error: VisageError) -> dict[str, Any]:
    """An error as a job keeps it."""
    details = {**error.details, **({"en": str(error), "zh": error.zh} if error.zh else {})}
    return {"code": error.code, "message": str(error), "details": details, "status": error.status}


async def unless(check: Coroutine[Any, Any, None], work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, done while `check` looks; stopped where that raises."""
    tasks = asyncio.create_task(check, name="check"), asyncio.create_task(work, name="work")
    try:
        await tasks[0]
        return await tasks[1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Making:
    """One voice being made.

    Args:
        parts: with what.
        job: what was asked for.
    """

    def __init__(self, parts: Parts, job: JobRow) -> None:
        self._parts = parts
        self._job = job
        self._reported = 0.0

    async def run(self) -> None:
        """Make it.

        Raises:
            VisageError: there will be none, and why.
        """
        parts, request = self._parts, self._job.request
        maker, model = parts.makers.choose(request["maker"], request["model"])
        async with parts.database.reading() as session:
            file = await session.get_one(FileRow, self._job.file_id)
        await self._stage("checking")
        async with opened(parts.storage, file, request["text"], request["language"]) as clip:
            await self._stage("embedding")
            embedding = await parts.embeddings.of_file(file) if parts.embeddings.usable else None
            wanted = request["sample_text"] or sample_text_for(clip, maker)
            if is_local(maker):
                await self._stage("cloning")
                check = parts.embeddings.check_one_speaker(clip.pcm, file.id)
                made = await unless(check, self._made(maker, clip, model, wanted))
            else:  # it is sent nothing before all is checked
                await parts.embeddings.check_one_speaker(clip.pcm, file.id)
                await self._stage("cloning")
                made = await self._made(maker, clip, model, wanted)
        try:
            await self._finish(file, maker, model, made, embedding, wanted)
        except (DatabaseUnavailable, TakenOver):
            raise  # it is taken up again, and then wants that voice
        except Exception:
            await self._forget(maker, made)
            raise

    async def _made(self, maker: VoiceMaker, clip: Clip, model: str, sample_text: str) -> Made:
        reports: set[asyncio.Task[None]] = set()

        def progress(stage: str, share: float) -> None:
            if time.monotonic() - self._reported < REPORT_EVERY_S:
                return
            span = SHARES["sampling"] - SHARES["cloning"]
            at = SHARES["cloning"] + span * min(1.0, max(0.0, share))
            task = asyncio.create_task(self._report("cloning", at), name=f"progress of {self._job.id}")
            reports.add(task)
            task.add_done_callback(reports.discard)

        try:
            with timed(self._parts.figures.calls_s, maker=maker.name, call="make"):
                async with asyncio.timeout(MAKE_TIMEOUT_S):
                    return await maker.make(clip, model, sample_text, progress)
        except TimeoutError as error:
            raise EngineError(maker.name, f"made no voice within {MAKE_TIMEOUT_S:.0f} s") from error
        finally:
            for task in reports:
                task.cancel()
            await asyncio.gather(*reports, return_exceptions=True)

    async def _finish(
        self,
        file: FileRow,
        maker: VoiceMaker,
        model: str,
        made: Made,
        embedding: EmbeddingRow | None,
        sample_text: str,
    ) -> None:
        """Hear the voice, and keep it."""
        await self._stage("sampling")
        parts = self._parts
        sample = made.sample or await speak_sample(maker, made, model, sample_text)
        similarity = made.similarity
        if similarity is None and embedding is not None and embedding.comparable:
            pcm = await asyncio.to_thread(heard, sample)
            similarity = await parts.embeddings.similarity(embedding.vector, pcm, self._job.voice_id)
        facts = provenance(self._job.voice_id, model, self._job.voice_id, cloned=maker.clones)
        sample = await asyncio.to_thread(marked_wav, sample, parts.watermark, facts)
        row = voice_row(self._job, file, maker, model, made, embedding, sample_text, similarity)
        try:
            async with (
                parts.outbox.writing({row.sample_audio_path: sample}) as written,
                parts.database.writing() as session,
            ):
                session.add(row)
                await session.flush()
                await written.keep(session)
                await parts.jobs.complete(session, self._job, row.id)
        except IntegrityError:
            if not await self._join(file, maker, model):
                raise
            await self._forget(maker, made)

    async def _join(self, file: FileRow, maker: VoiceMaker, model: str) -> bool:
        """Where the same voice is there by now, let it be this job's."""
        parts, job = self._parts, self._job
        async with parts.database.writing() as session:
            origin = VoiceRow.user_id == job.user_id, VoiceRow.content_hash == file.sha256
            found = await session.scalar(
                select(VoiceRow.id).where(*origin, VoiceRow.maker == maker.name, VoiceRow.model == model)
            )
            if found is not None:
                await parts.jobs.complete(session, job, found)
            return found is not None

    async def _forget(self, maker: VoiceMaker, made: Made) -> None:
        """Have the maker delete what became no voice; unless a voice of ours is that very one."""
        parts = self._parts
        with contextlib.suppress(VisageError):
            async with parts.database.writing() as session:
                same = VoiceRow.maker == maker.name, VoiceRow.step_voice_id == made.voice_id
                if made.voice_id and await session.scalar(select(VoiceRow.id).where(*same).limit(1)):
                    return
                parts.outbox.forget(session, maker.name, made.voice_id, made.recipe)
            parts.outbox.wake()

    async def _stage(self, stage: str) -> None:
        await self._parts.jobs.advance(self._job, stage, SHARES[stage])

    async def _report(self, stage: str, share: float) -> None:
        self._reported = time.monotonic()
        with contextlib.suppress(VisageError):
            await self._parts.jobs.advance(self._job, stage, share)
