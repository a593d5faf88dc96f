"""`python app.py users …` and `python app.py voices …`: the library from the command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from config import Settings, sources
from errors import Conflict, NotFound
from tts.library import LibraryEngine
from voices.library import Sources, check
from voices.opened import DATABASE, Opened, Plan, open_library
from voices.people import LOCAL

ROOT = Path(__file__).resolve().parent.parent / "data" / "voices"


def users(argv: Sequence[str], root: Path = ROOT) -> int:
    """`users add|list|key|remove`; the exit status."""
    parser = argparse.ArgumentParser(prog="python app.py users", description="Who may use this server / 用户管理")
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="a new user; prints their key, this once / 新增用户并显示一次密钥")
    add.add_argument("name")
    add.add_argument("--email", default="")
    actions.add_parser("list", help="everybody / 列出用户")
    key = actions.add_parser("key", help="a new key for a user; the old one no longer works / 更换密钥")
    key.add_argument("name")
    remove = actions.add_parser("remove", help="a user and all their voices / 删除用户及其全部音色")
    remove.add_argument("name")
    remove.add_argument("--yes", action="store_true", help="also where they have voices / 即使其拥有音色")
    given, flags = parser.parse_known_args(list(argv))
    return asyncio.run(_users(given, sources.load(flags), root))


async def _users(given: argparse.Namespace, settings: Settings, root: Path) -> int:
    async with _library(settings, root, working=given.action == "remove") as opened:
        if given.action == "add":
            print(await opened.accounts.add(given.name, given.email))
        elif given.action == "key":
            print(await opened.accounts.renew(given.name))
        elif given.action == "list":
            for user in await opened.accounts.all():
                kind = "owner" if user.id == LOCAL.id else "user "
                print(f"{kind}  {user.created_at:%Y-%m-%d}  {user.name}  {user.email or ''}".rstrip())
        else:
            await _remove(opened, given.name, sure=given.yes)
    return 0


async def _remove(opened: Opened, name: str, *, sure: bool) -> None:
    user = await opened.accounts.named(name)
    if user.id == LOCAL.id:
        raise Conflict("the owner of this server cannot be removed")
    voices, files, _ = await opened.catalogue.counts(opened.accounts.as_user(user))
    if (voices or files) and not sure:
        raise Conflict(f"{name} has {voices} voices and {files} recordings, which go too: add --yes")
    removed = await opened.removal.user(user.id)
    while await opened.outbox.sweep():
        pass
    print(f"{name}: {removed.files} files deleted / 已删除 {removed.files} 个文件")


def voices(argv: Sequence[str], root: Path = ROOT) -> int:
    """`voices migrate|tidy`; the exit status."""
    parser = argparse.ArgumentParser(prog="python app.py voices", description="The voice library / 音色库维护")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("migrate", help="bring its database up to date; serving does so too / 升级数据库")
    actions.add_parser("tidy", help="delete what has grown old and what is left to be deleted / 清理过期与待删除文件")
    given, flags = parser.parse_known_args(list(argv))
    return asyncio.run(_voices(given, sources.load(flags), root))


async def _voices(given: argparse.Namespace, settings: Settings, root: Path) -> int:
    async with _library(settings, root, working=False) as opened:
        if given.action == "migrate":
            where = f"{root / DATABASE}" if opened.database.is_sqlite and not settings.database_url else "database_url"
            print(f"{where}: up to date / 已是最新")
            return 0
        removed = await opened.removal.aged(settings.keep_uploads_h, settings.keep_speech_days)
        await opened.outbox.recover()
        done = 0
        while count := await opened.outbox.sweep():
            done += count
        waiting = await opened.outbox.waiting()
        print(f"{removed.files} files had grown old, {done} deletions done, {waiting} wait / 已清理")
        return 1 if waiting else 0


@contextlib.asynccontextmanager
async def _library(settings: Settings, root: Path, *, working: bool) -> AsyncIterator[Opened]:
    if settings.library == "off":
        raise NotFound("there is no voice library (library: off)")
    check(settings)
    sources = Sources()
    plan = Plan(settings, root, lambda: None, LibraryEngine(), sources.makers, sources.speaker_model, sources.desk)
    async with open_library(plan, working=working) as opened:
        yield opened
