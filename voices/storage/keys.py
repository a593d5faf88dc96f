"""Keys of stored files, safe whatever a client called them."""

from __future__ import annotations

import re
import secrets
import unicodedata

from voices.schema import Time

NAME_BYTES_MAX = 100
"""Of a file name within a key: file systems allow 255, and a key has more to it."""
_UNSAFE = re.compile(r"[^\w.-]+")


def safe_name(filename: str, suffix: str) -> str:
    """A client's file name without paths, control characters and signs that mean something to a shell or an address.

    Args:
        filename: anything.
        suffix: `.wav`; what the content is, whatever the name says.
    """
    name = unicodedata.normalize("NFKC", filename).replace("\\", "/").rpartition("/")[2]
    stem = _UNSAFE.sub("_", name.rpartition(".")[0] or name).strip("._-")
    stem = stem.encode()[: NAME_BYTES_MAX - len(suffix)].decode(errors="ignore")
    return f"{stem or 'recording'}{suffix}"


def _stamp(now: Time) -> str:
    """A moment, and some chance, so that two files of one moment are two."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}{secrets.token_hex(3)}"


def upload_key(user_id: str, filename: str, suffix: str, now: Time) -> str:
    """`uploads/{userId}/{timestamp}_{filename}`."""
    return f"uploads/{user_id}/{_stamp(now)}_{safe_name(filename, suffix)}"


def prepared_key(key: str) -> str:
    """Of the trimmed copy of an upload."""
    return f"{key}.24k.wav"


def sample_key(voice_id: str) -> str:
    """`samples/{voiceId}/sample.wav`: a voice has one, and a creation that is taken up again writes it again."""
    return f"samples/{voice_id}/sample.wav"


def speech_key(voice: str, suffix: str, now: Time) -> str:
    """`tts_outputs/{voiceId}/{timestamp}.mp3`."""
    return f"tts_outputs/{_UNSAFE.sub('_', voice)[:80]}/{_stamp(now)}{suffix}"
