"""What `doctor` looks at in the voice library: database, storage, Redis, what tells speakers apart, its makers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Settings
from doctor.findings import Finding
from errors import VisageError

if TYPE_CHECKING:
    from voices.cloning.base import VoiceMaker

CHECK_TIMEOUT_S = 10.0
ROOT = Path(__file__).parent.parent / "data" / "voices"


def library(settings: Settings) -> Iterator[Finding]:
    """Whether it could be opened, and what voices could be made."""
    if settings.library == "off":
        yield Finding("Voice library", "note", "off (library: off)", "已关闭（library: off）")
        return
    from voices.library import check

    try:
        check(settings)
    except VisageError as error:
        yield Finding("Voice library", "missing", str(error), str(error), "make platform")
        return
    yield asyncio.run(_database(settings))
    yield asyncio.run(_storage(settings))
    if settings.redis_url:
        yield asyncio.run(_redis(settings))
    yield _speakers(settings)
    yield from _makers(settings)


async def _database(settings: Settings) -> Finding:
    from voices.database import database_url, explained, make_engine
    from voices.migrate import HEAD, version
    from voices.opened import DATABASE

    name = "Voice library, database"
    path = ROOT / DATABASE
    if not settings.database_url and not path.exists():
        return Finding(name, "ok", f"{path} is made at the first start", f"{path} 将在首次启动时创建")
    try:
        engine = make_engine(database_url(settings.database_url, path))
        try:
            with explained():
                async with engine.connect() as connection:
                    found = await connection.run_sync(version)
        finally:
            await engine.dispose()
    except VisageError as error:
        zh = error.zh or str(error)
        return Finding(name, "missing", f"{error}", zh, "--database_url postgresql://USER:PASSWORD@HOST/NAME")
    kind = engine.dialect.name
    if found == HEAD:
        return Finding(name, "ok", f"{kind}, up to date ({HEAD})", f"{kind}，已是最新（{HEAD}）")
    return Finding(name, "ok", f"{kind}, brought from {found or 'nothing'} to {HEAD} at the next start",
                   f"{kind}，下次启动时由 {found or '空'} 升级到 {HEAD}")  # fmt: skip


async def _storage(settings: Settings) -> Finding:
    from voices.opened import STORAGE
    from voices.storage.build import build_storage

    name = f"Voice library, storage ({settings.storage_type})"
    try:
        await build_storage(settings, ROOT / STORAGE).check()
    except VisageError as error:
        return Finding(name, "missing", str(error), error.zh or str(error), "--storage_path, --storage_endpoint")
    return Finding(name, "ok", "can be written to", "可写入")


async def _redis(settings: Settings) -> Finding:
    from voices.shared import build_shared

    shared = build_shared(settings.redis_url)
    try:
        reason = await shared.why_not()
    finally:
        await shared.aclose()
    if reason is None:
        return Finding("Voice library, Redis", "ok", "answers", "正常")
    return Finding("Voice library, Redis", "note", f"{reason}; the library works without it, more slowly",
                   f"{reason}；没有它音色库仍可工作，但较慢", "--redis_url redis://HOST:6379")  # fmt: skip


def _speakers(settings: Settings) -> Finding:
    from voices.library import Sources

    name = "Voice library, speakers"
    try:
        model = Sources().speaker_model(settings)
    except (VisageError, ImportError) as error:
        return Finding(name, "missing", str(error), str(error), "--embedding_provider campplus")
    reason = "no speaker model in this build" if model is None else model.why_not()
    if model is not None and reason is None:
        return Finding(
            name, "ok", f"{model.id.name}, {model.id.dimension} numbers", f"{model.id.name}，{model.id.dimension} 维"
        )
    return Finding(name, "note", f"{reason}; voices are made without telling speakers apart",
                   f"{reason}；仍可创建音色，但不区分说话人")  # fmt: skip


def _makers(settings: Settings) -> Iterator[Finding]:
    from house.voices import make_chain
    from voices.cloning.build import build_makers
    from voices.library import Sources

    try:
        makers = build_makers(settings, make_chain(settings), Sources().speaker_model(settings)).all
    except (VisageError, ImportError) as error:
        yield Finding("Voice library, makers", "missing", str(error), str(error), "--voice_makers NAME")
        return
    if not makers:
        yield Finding("Voice library, makers", "note", "nothing here makes voices", "没有可用的音色来源")
    for maker in makers:
        yield _maker(maker)


def _maker(maker: VoiceMaker) -> Finding:
    """One of them; a hosted one is asked whether it takes its key."""
    from voices.cloning.build import why_not

    name = f"Voice library, maker {maker.name}"
    kind = ("clones", "克隆") if maker.clones else ("leans toward the speaker, no clone", "仅贴近说话人，并非克隆")
    en, zh = why_not(maker)
    if en:
        return Finding(name, "note", en, zh)
    check: Callable[[], Coroutine[Any, Any, str]] | None = getattr(maker, "check", None)
    if check is None:
        return Finding(name, "ok", kind[0], kind[1])

    async def asked() -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await check()
        finally:
            await maker.aclose()

    try:
        told = asyncio.run(asked())
    except TimeoutError:
        en, zh = f"gave no answer for {CHECK_TIMEOUT_S:g} s", f"{CHECK_TIMEOUT_S:g} 秒内无应答"
        return Finding(name, "note", en, zh)
    except VisageError as error:
        return Finding(name, "note", str(error), error.zh or str(error))
    return Finding(name, "ok", f"{kind[0]}; {told}", f"{kind[1]}；{told}")
