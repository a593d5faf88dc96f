"""Kept clauses: said again from disk, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.voice import FakeEngine
from tts.base import Sound, Word
from tts.cache import SoundCache, key
from tts.chain import Chain, Piece

SOUND = Sound(np.linspace(-0.5, 0.5, 2_400, dtype=np.float32), (Word("Hello", 0.0, 0.1),))


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def said(chain: Chain, text: str = "Hello there.", **how: object) -> list[Piece]:
    return [piece async for piece in chain.speak(text, "en", **how)]  # type: ignore[arg-type]


def engine(name: str = "fake", **more: object) -> FakeEngine:
    return FakeEngine(name, first_sound_s=0, chunk_s=0, **more)  # type: ignore[arg-type]


async def test_a_clause_is_kept_and_found_by_another_process(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "new", 1 << 20)
    assert await cache.get("a") is None and not (tmp_path / "new").exists()
    cache.put("a", [SOUND, SOUND], 24_000)
    await cache.aclose()
    found = await SoundCache(tmp_path / "new", 1 << 20).get("a")
    assert found is not None and found.rate_hz == 24_000 and [word.text for word in found.words] == ["Hello", "Hello"]
    assert np.allclose(found.pcm, np.tile(SOUND.pcm, 2), atol=1e-4)


async def test_the_one_used_longest_ago_goes_first(tmp_path: Path) -> None:
    one_bytes = SOUND.pcm.size * 2 + 100
    cache = SoundCache(tmp_path, 3 * one_bytes)
    for name in "abc":
        cache.put(name, [SOUND], 24_000)
        await cache.aclose()
    assert await cache.get("a") is not None
    cache.put("d", [SOUND], 24_000)
    await cache.aclose()
    assert [await cache.get(name) is not None for name in "abcd"] == [True, False, True, True]
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 3 * one_bytes
    for number, name in enumerate("cad"):
        os.utime(tmp_path / f"{name}.clause", (number, number))
    again = SoundCache(tmp_path, 2 * one_bytes)
    again.put("e", [SOUND], 24_000)
    await again.aclose()
    assert sorted(path.stem for path in files(tmp_path)) == ["d", "e"]


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xffxx", b"\x02\0\0\0{}", b"\x04\0\0\0nullab", b"\x02\0\0\0[]a"])
async def test_what_is_damaged_counts_as_not_there(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.clause").write_bytes(data)
    cache = SoundCache(tmp_path, 1 << 20)
    assert await cache.get("a") is None
    cache.put("a", [SOUND], 24_000)
    await cache.aclose()
    assert await cache.get("a") is not None


async def test_a_disk_that_takes_nothing_costs_no_word(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chain = Chain([engine()], kept=SoundCache(tmp_path / "file" / "x", 1 << 20))
    assert await said(chain) and await said(chain)
    await chain.aclose()


async def test_a_long_clause_is_not_kept(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path, 1 << 30)
    cache.put("a", [Sound(np.zeros(61 * 100, np.float32))], 100)
    cache.put("b", [], 100)
    await cache.aclose()
    assert files(tmp_path) == []


async def test_what_was_said_is_not_asked_again(tmp_path: Path) -> None:
    asked = engine()
    chain = Chain([asked], kept=SoundCache(tmp_path, 1 << 20))
    first = await said(chain)
    await chain.aclose()
    again = await said(chain)
    assert len(asked.asked) == 1 and len(again) == 1 and again[0].voice == first[0].voice
    whole = np.concatenate([piece.sound.pcm for piece in first])
    assert np.allclose(again[0].sound.pcm, whole, atol=1e-4) and again[0].rate_hz == first[0].rate_hz
    await said(chain, speed=1.5)
    await said(chain, "Hello there!")
    assert len(asked.asked) == 3


async def test_an_engine_that_rests_is_still_heard_from_the_cache(tmp_path: Path) -> None:
    primary, other = engine("primary"), engine("other")
    chain = Chain([primary, other], kept=SoundCache(tmp_path, 1 << 20))
    await said(chain)
    primary.fail_after = 0
    assert (await said(chain, "Something else."))[0].voice.engine == "other"
    await asyncio.sleep(0)
    assert (await said(chain))[0].voice.engine == "primary"
    assert chain.describe()[0]["failures"] == 1, "nobody heard that it works again"
    await chain.aclose()


async def test_half_a_clause_is_not_kept(tmp_path: Path) -> None:
    chain = Chain([engine("bad", fail_after=12), engine("good")], kept=SoundCache(tmp_path, 1 << 20))
    pieces = await said(chain, "Hello there, all of you.")
    assert {piece.voice.engine for piece in pieces} == {"bad", "good"}
    await chain.aclose()
    assert files(tmp_path) == []


def test_keys_tell_everything_apart() -> None:
    assert len({key("a", "b"), key("ab", ""), key("a", "b", ""), key("a", 1.5), key("a", 1)}) == 5
