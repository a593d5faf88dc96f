"""A voice as it is kept, of what was asked for and what was made."""

from __future__ import annotations

from voices.catalogue import folded
from voices.cloning.base import Made, VoiceMaker
from voices.consent import STATEMENT, STATEMENTS
from voices.schema import ConsentRow, EmbeddingRow, FileRow, JobRow, VoiceRow, utc_now
from voices.storage.keys import sample_key

NAME_CHARACTERS_MAX = 80


def voice_row(
    job: JobRow,
    file: FileRow,
    maker: VoiceMaker,
    model: str,
    made: Made,
    embedding: EmbeddingRow | None,
    sample_text: str,
    similarity: float | None,
) -> VoiceRow:
    """The row, with its consent."""
    request = job.request
    name = request["name"] or file.filename.rpartition(".")[0][:NAME_CHARACTERS_MAX].strip() or "voice"
    given = request["consent"]
    statement = STATEMENTS.get(given["statement"], STATEMENT)
    return VoiceRow(
        id=job.voice_id,
        user_id=job.user_id,
        file_id=file.id,
        content_hash=file.sha256,
        maker=maker.name,
        model=model,
        step_voice_id=made.voice_id,
        recipe=dict(made.recipe),
        clones=maker.clones,
        languages=list(made.languages),
        gender=request["gender"],
        name=name,
        description=request["description"],
        tags=request["tags"],
        search=folded(name, request["description"], *request["tags"]),
        text=request["text"],
        sample_text=sample_text,
        sample_audio_path=sample_key(job.voice_id),
        embedding_hash=embedding.vector_hash if embedding is not None else "",
        similarity=similarity,
        public=request["public"],
        extra={},
        consent=ConsentRow(
            voice_id=job.voice_id,
            speaker=given["speaker"],
            relation=given["relation"],
            statement=statement.id,
            statement_text=f"{statement.en}\n{statement.zh}",
            user_id=job.user_id,
            agreed_at=job.created_at,
        ),
        created_at=utc_now(),
        updated_at=utc_now(),
    )
