"""`/api/embeddings`: the speaker's vector of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from server.endpoint import Call, Endpoint
from server.library import cards, shapes
from server.library.access import library

TAG = "embeddings"


async def generate_embedding(call: Call[shapes.EmbeddingRequest]) -> Any:
    """The vector; made once for each model."""
    opened = await library(call)
    row = await opened.files.get(call.given.fileId, call.user)
    made = await opened.embeddings.of_file(row)
    return cards.embedding_info(made, np.frombuffer(made.vector, "<f4").tolist())


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/embeddings/generate", generate_embedding,
        "The speaker's vector of a recording.", "生成录音的说话人向量。",
        TAG, shapes.EmbeddingRequest, "json", data=shapes.EmbeddingInfo, statuses=(404, 502, 503),
    ),
)  # fmt: skip
