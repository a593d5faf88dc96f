"""`Embeddings`: the speaker's vector of a recording, made once for each model, kept with what made it."""

from __future__ import annotations

import hashlib

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from errors import Unavailable
from media import SAMPLE_RATE_HZ, Pcm
from voices.audio.refusals import Refused
from voices.clips import load_pcm
from voices.database import Database
from voices.neighbours import Neighbours
from voices.schema import EmbeddingRow, FileRow, new_id
from voices.speakers.base import SpeakerModel, Vector
from voices.storage.base import Storage

ONE_SPEAKER_MARGIN = 0.05
"""Halves of one recording share room and microphone, so that one person's are far over `same_speaker` (0.80 and more
with CAM++, for eight synthetic voices); a person is refused less gladly than two are let pass."""
HALF_MIN_S = 2.0


class Embeddings:
    """Vectors in the database.

    Args:
        database: where they are kept.
        storage: where the recordings are.
        model: what makes them; None where there is none.
        neighbours: told of new ones.
    """

    def __init__(
        self, database: Database, storage: Storage, model: SpeakerModel | None, neighbours: Neighbours
    ) -> None:
        self._database = database
        self._storage = storage
        self.model = model
        self._neighbours = neighbours

    @property
    def usable(self) -> bool:
        """Whether vectors can be made now."""
        return self.model is not None and self.model.why_not() is None

    async def of_file(self, row: FileRow) -> EmbeddingRow:
        """A recording's vector.

        Raises:
            Unavailable: there is no speaker model.
            EngineError: it failed.
            Missing, StorageUnavailable, DatabaseUnavailable: as it says.
        """
        model = self.model
        if model is None or (reason := model.why_not()):
            raise Unavailable(f"no speaker model can be used: {reason if model else 'none is configured'}")
        found = await self._found(row.id, model)
        if found is not None:
            return found
        pcm = await load_pcm(self._storage, row)
        vector = await model.embed(pcm, row.id)
        made = embedding_row(row.id, model, vector)
        try:
            async with self._database.writing() as session:
                session.add(made)
                await session.flush()
                await self._neighbours.keep(session, made)
        except IntegrityError:  # another request was quicker
            found = await self._found(row.id, model)
            if found is None:
                raise
            return found
        return made

    async def _found(self, file_id: str, model: SpeakerModel) -> EmbeddingRow | None:
        async with self._database.reading() as session:
            row: EmbeddingRow | None = await session.scalar(
                select(EmbeddingRow).where(
                    EmbeddingRow.file_id == file_id,
                    EmbeddingRow.model_name == model.id.name,
                    EmbeddingRow.model_version == model.id.version,
                )
            )
            return row

    async def comparable_of(self, file_id: str) -> EmbeddingRow | None:
        """A recording's vector that others may be compared with: the present model's, if there is one."""
        model = self.model
        if model is None or not model.comparable:
            return None
        return await self._found(file_id, model)

    async def model_of(self, file_id: str, vector_hash: str) -> str:
        """Name of the model that made a vector; empty for none."""
        if not vector_hash:
            return ""
        async with self._database.reading() as session:
            name = await session.scalar(
                select(EmbeddingRow.model_name).where(
                    EmbeddingRow.file_id == file_id, EmbeddingRow.vector_hash == vector_hash
                )
            )
            return name or ""

    async def check_one_speaker(self, pcm: Pcm, seed: str) -> None:
        """Compare the halves of a recording, where a model can.

        Raises:
            Refused: two people speak.
            EngineError: the model failed.
        """
        model = self.model
        if model is None or not model.comparable or model.why_not() is not None:
            return
        if pcm.size < 2 * HALF_MIN_S * SAMPLE_RATE_HZ:
            return
        halves = [await model.embed(half, seed) for half in (pcm[: pcm.size // 2], pcm[pcm.size // 2 :])]
        if cosine(*halves) < model.same_speaker - ONE_SPEAKER_MARGIN:
            raise Refused("two_speakers")

    async def similarity(self, vector: bytes, pcm: Pcm, seed: str) -> float | None:
        """Cosine of a kept vector and a piece of sound; None where no model can tell."""
        model = self.model
        if model is None or not model.comparable or model.why_not() is not None:
            return None
        if pcm.size < SAMPLE_RATE_HZ:
            return None
        return cosine(np.frombuffer(vector, "<f4"), await model.embed(pcm, seed))


def cosine(one: Vector, other: Vector) -> float:
    """Of two vectors of length 1."""
    return float(np.dot(one, other))


def embedding_row(file_id: str, model: SpeakerModel, vector: Vector) -> EmbeddingRow:
    """A vector as it is kept."""
    data = np.ascontiguousarray(vector, "<f4").tobytes()
    return EmbeddingRow(
        id=new_id("emb"),
        file_id=file_id,
        vector=data,
        vector_hash=hashlib.sha256(data).hexdigest(),
        dimension=model.id.dimension,
        model_name=model.id.name,
        model_version=model.id.version,
        comparable=model.comparable,
    )
