"""Where generated speech comes from: what a file says of itself, and how a file is asked.

A file says it in the tags of its own format, in words that others read:
    `AIGC`: the implicit label of GB 45438-2025 (in force in China since September 2025), a JSON object;
    `digitalSourceType`: IPTC's term for what a trained model made, which C2PA and the EU's code of practice use too;
    `comment`: both and the rest as one JSON object, since a WAV file has no place for other names.
Tags are lost when a file is recorded again; the inaudible mark (`voices.watermark`) is not. Neither being there proves
that a person spoke.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import IO, Any

import av
import av.error
import numpy as np

from audiofile import FORMATS, decode, inspect
from errors import Unprocessable
from media import SAMPLE_RATE_HZ
from voices.watermark import Watermark

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SOURCE_TERMS = ("trainedalgorithmicmedia", "compositesynthetic")
"""Of IPTC's newscodes: made by a trained model, wholly or in part (`compositeWithTrainedAlgorithmicMedia` too)."""
NOTICE = "AI-generated speech / 人工智能合成语音"
GENERATOR = "Visage"
LONGEST_S = 600.0
MARKED = 0.5
"""Score from which a stretch of sound is taken for marked."""
VALUE_CHARACTERS = 16_384
"""A longer tag is not looked into."""
SCANNED_BYTES = 1 << 20
"""At both ends of a file, for a C2PA manifest."""


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Of one generated file."""

    content_id: str
    """Unique for this file."""
    model: str
    """What spoke, e.g. `kokoro` or `stepfun/step-tts-2`."""
    voice: str = ""
    """Id of the voice."""
    cloned: bool = False
    """Whether it is the voice of a person who was recorded."""
    producer: str = GENERATOR
    """Name or registered code of who runs the service; GB 45438-2025 calls it ContentProducer."""
    made_at: str = ""
    """UTC, ISO 8601."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """Something in a file that says a machine made it."""

    kind: str
    """`visage`, `aigc` (GB 45438-2025), `iptc` or `c2pa` (a manifest is there; its signature is not checked)."""
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a file was found to say and to bear."""

    claims: tuple[Claim, ...]
    marked: float | None
    """Share of its sound that bears the inaudible mark, 0..1; None where that could not be looked for."""
    seconds: float
    why_not: str | None = None
    """Why the inaudible mark was not looked for."""

    @property
    def generated(self) -> bool:
        """True when a claim or the mark says so. False says only that nothing was found."""
        return bool(self.claims) or (self.marked or 0.0) > 0.0


def tags(provenance: Provenance) -> dict[str, str]:
    """Tag names and values for whoever writes the file; formats drop the names they do not know.

    There is no `description`: in Vorbis comments it would take the place of `comment`.
    """
    aigc = {
        "Label": "1",
        "ContentProducer": provenance.producer,
        "ProduceID": provenance.content_id,
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    whole = {
        "notice": NOTICE,
        "AIGC": aigc,
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "generator": GENERATOR,
        **{name: value for name, value in dataclasses.asdict(provenance).items() if name != "producer"},
    }
    return {
        "comment": _json(whole),
        "AIGC": _json(aigc),
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
    }


def claims_of(file: IO[bytes]) -> tuple[Claim, ...]:
    """What a sound file says of itself; blocking, for a thread.

    Raises:
        Unprocessable: it is no sound file.
    """
    found: dict[str, Claim] = {}
    for name, value in _tags_of(file):
        if len(value) > VALUE_CHARACTERS:
            continue
        facts = _object(value)
        if facts.get("generator") == GENERATOR and "AIGC" in facts:
            found.setdefault("visage", Claim("visage", facts))
        aigc = facts if name == "aigc" else facts.get("AIGC")
        if isinstance(aigc, dict) and "Label" in aigc:
            found.setdefault("aigc", Claim("aigc", aigc))
        if any(term in value.replace(" ", "").lower() for term in SOURCE_TERMS):
            found.setdefault("iptc", Claim("iptc", {"digitalSourceType": facts.get("digitalSourceType", value)}))
    if _has_manifest(file):
        found["c2pa"] = Claim("c2pa", {"verified": False})
    return tuple(found.values())


def check(file: IO[bytes], watermark: Watermark | None = None) -> Checked:
    """Ask a sound file whether a machine made it; blocking, for a thread.

    Args:
        file: any container that an upload may have.
        watermark: looks for the inaudible mark; None only reads the tags.

    Raises:
        Unprocessable: no sound file, or a broken one.
        TooLarge: longer than LONGEST_S.
    """
    claims = claims_of(file)
    seconds = inspect(file, LONGEST_S).duration_s
    reason = "not asked for" if watermark is None else watermark.why_not()
    if watermark is None or reason:
        return Checked(claims, None, seconds, reason)
    with _readable():
        pcm = np.concatenate(list(decode(file, LONGEST_S)))
    scores = watermark.scores(pcm, SAMPLE_RATE_HZ)
    if not scores:
        return Checked(claims, None, seconds, "too short, or silent")
    return Checked(claims, sum(score > MARKED for score in scores) / len(scores), seconds)


def _tags_of(file: IO[bytes]) -> list[tuple[str, str]]:
    """Names in lower case and values, of the container and of its streams."""
    file.seek(0)
    with _readable(), av.open(file, "r", options={"format_whitelist": FORMATS}, metadata_errors="replace") as container:
        several = [container.metadata, *(stream.metadata for stream in container.streams)]
        return [(name.lower(), value) for one in several for name, value in one.items()]


@contextlib.contextmanager
def _readable() -> Any:
    try:
        yield
    except av.error.FFmpegError as error:
        raise Unprocessable("file is not audio that can be read, or is cut off") from error


def _has_manifest(file: IO[bytes]) -> bool:
    """Whether there is a JUMBF box of C2PA, as C2PA embeds it in an ID3 frame, a RIFF chunk or a box."""
    file.seek(0)
    head = file.read(SCANNED_BYTES)
    file.seek(max(0, file.seek(0, 2) - SCANNED_BYTES))
    return any(b"jumb" in part and b"c2pa" in part for part in (head, file.read()))


def _object(value: str) -> dict[str, Any]:
    """A JSON object; empty where it is none."""
    try:
        facts = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
