"""`POST /api/tts/check`: whether a machine made the speech in a file."""

from __future__ import annotations

import asyncio
from typing import Any

from errors import BadRequest
from server.endpoint import Call, Endpoint, Nothing
from server.form import read_form
from server.library import speechshapes
from server.library.access import library

TIMEOUT_S = 120.0


async def check_speech(call: Call[Nothing]) -> Any:
    """Read a file's tags, and listen for the inaudible mark."""
    from voices.provenance import check

    services, opened = call.services, await library(call)
    mib_max, decoders = services.settings.max_upload_mb, services.decoders
    form = await read_form(call.request, ("file",), mib_max=mib_max, timeout_s=TIMEOUT_S, decoders=decoders)
    try:
        if form.file is None:
            raise BadRequest("file is missing: send the sound as multipart form field `file`")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(decoders, check, form.file, opened.watermark)
    finally:
        form.close()
    return speechshapes.Origin(
        generated=found.generated,
        claims=[speechshapes.Claim(kind=claim.kind, facts=dict(claim.facts)) for claim in found.claims],
        marked=found.marked,
        duration=round(found.seconds, 3),
        why_not=found.why_not or "",
    ).model_dump(mode="json")


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/tts/check", check_speech,
        "Whether a machine made the speech in a file: what its tags claim, and the inaudible mark. Neither being there "
        "proves nothing.",
        "检测文件中的语音是否由机器生成：读取标签并检测隐形标记。两者皆无并不能证明是真人。",
        "generation", speechshapes.Checked, "form", data=speechshapes.Origin, statuses=(413, 422, 503),
    ),
)  # fmt: skip
