"""A library of many voices, written straight into its tables."""

from __future__ import annotations

import datetime
import hashlib
import random
from typing import Any

import numpy as np
from sqlalchemy import insert

from voices.catalogue import folded
from voices.database import Database
from voices.people import LOCAL
from voices.schema import EmbeddingRow, FileRow, UserRow, VoiceRow, new_id, utc_now
from voices.speakers.local import CampPlus

BATCH = 500
OTHER = "user-other"
FIRST = ("温柔的", "阳光的", "沉稳的", "可爱的", "young ", "old ", "quiet ", "busy ")
SECOND = ("小明", "老师", "讲解员", "女孩", "captain", "teacher", "gardener", "painter")


async def fill(database: Database, count: int) -> None:
    """Half of the voices are the owner's, half another user's, of which one in five is public."""
    numbers = np.random.default_rng(5)
    async with database.writing() as session:
        for id_, name in ((LOCAL.id, LOCAL.name), (OTHER, "other")):
            if await session.get(UserRow, id_) is None:
                session.add(UserRow(id=id_, name=name))
    now = utc_now()
    for begin in range(0, count, BATCH):
        rows = [_rows(begin + at, now, numbers) for at in range(min(BATCH, count - begin))]
        async with database.writing() as session:
            for kind, part in ((FileRow, 0), (EmbeddingRow, 1), (VoiceRow, 2)):
                await session.execute(insert(kind), [row[part] for row in rows])


def _rows(number: int, now: datetime.datetime, numbers: np.random.Generator) -> tuple[dict[str, Any], ...]:
    owner = LOCAL.id if number % 2 else OTHER
    name = f"{random.choice(FIRST)}{random.choice(SECOND)} {number}"
    description = "A voice for reading, recorded at home. 适合朗读，在家录制。" * random.randint(1, 4)
    tags = random.sample(["warm", "news", "少年", "御姐", "story", "广告"], 2)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    at = now - datetime.timedelta(minutes=number)
    vector = numbers.standard_normal(CampPlus.id.dimension)
    data = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    file = {
        "id": new_id("file"), "user_id": owner, "filename": f"{number}.wav", "file_path": f"uploads/{number}",
        "prepared_path": f"uploads/{number}.wav", "file_size": 480_000, "duration": 8.0, "format": "wav",
        "sample_rate": 24_000, "channels": 1, "sha256": digest, "peaks": bytes(200), "checks": {}, "created_at": at,
    }  # fmt: skip
    embedding = {
        "id": new_id("emb"), "file_id": file["id"], "vector": data, "vector_hash": digest, "comparable": True,
        "dimension": CampPlus.id.dimension, "model_name": CampPlus.id.name, "model_version": CampPlus.id.version,
        "created_at": at,
    }  # fmt: skip
    voice = {
        "id": new_id("voice"), "user_id": owner, "file_id": file["id"], "content_hash": digest, "maker": "designed",
        "model": "designed-1", "step_voice_id": "", "recipe": {"styles": [0.1] * 200}, "clones": False,
        "languages": ["zh", "en"] if number % 3 else ["en"], "gender": "female" if number % 2 else "male",
        "name": name, "description": description, "tags": tags, "search": folded(name, description, *tags),
        "text": "", "sample_text": "", "sample_audio_path": f"samples/{number}", "embedding_hash": digest,
        "public": number % 10 == 0, "metadata": {}, "uses": random.randint(0, 500), "created_at": at,
        "updated_at": at,
    }  # fmt: skip
    voice["extra"] = voice.pop("metadata")
    return file, embedding, voice
