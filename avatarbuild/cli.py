"""`python app.py avatar`: makes avatars of clips and photos, takes over those of other programs, lists, deletes.

    python app.py avatar build SRC --avatar_id ID [--name NAME] [--force] [--largest] [--json]
    python app.py avatar import DIR --avatar_id ID [--name NAME] [--force] [--json]
    python app.py avatar list [--json]
    python app.py avatar delete ID [--json]

With --json a build prints one JSON object a line: `{"stage", "done", "total"}` and perhaps `note`, at last `{"avatar"}`
or `{"error", "status"}`. SIGTERM and Ctrl-C cancel a build, which then leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from avatar import AvatarInfo, list_avatars
from avatarbuild.workspace import delete_avatar
from engines.musetalk.box import PRESETS, Blending
from errors import BadRequest, VisageError
from weights.manifest import MODELS

AVATARS = Path(__file__).resolve().parent.parent / "data" / "avatars"
DONE, FAILED = 0, 1
CANCELLED_STATUS = 499
"""As nginx logs a request whose client went away."""
REPORT_EVERY_S = 0.1
BAR = 30
VERSIONS = ("v1", "v15")
NAME_MAX = 120


class Cancelled(BaseException):
    """A signal asked to stop."""


def main(argv: Sequence[str]) -> int:
    """Run a subcommand; its exit status."""
    given = _parser().parse_args(list(argv))
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "build": _make,
        "import": _make,
        "list": _list,
        "delete": _delete,
    }
    return commands[given.command](given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python app.py avatar", description="Avatars / 数字人形象")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--avatars", type=Path, default=AVATARS, help="where avatars are (data/avatars)")
    common.add_argument("--json", action="store_true", help="JSON on stdout, one object a line")
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--avatar_id", required=True, help="its id: 1 to 64 of A-Z a-z 0-9 _ -")
    made.add_argument("--name", default="", help="what people read (the id)")
    made.add_argument("--force", action="store_true", help="replace an avatar of that id")

    built = commands.add_parser("build", parents=[common, made], help="from a clip, a photo or a folder of pictures")
    built.add_argument("source", type=Path, help="mp4, mov, webm, gif ...; png, jpg, webp; or a folder of pictures")
    built.add_argument("--largest", action="store_true", help="take the largest of several faces")
    built.add_argument("--max_side", type=int, default=1920, help="shrink larger pictures to this side, pixels (1920)")
    built.add_argument("--max_seconds", type=float, default=180.0, help="leave out what comes later (180)")
    built.add_argument("--still_seconds", type=float, default=8.0, help="length of the loop made of a photo (8)")
    built.add_argument("--background", default="#808080", help="behind transparent pictures (#808080)")
    built.add_argument("--source_name", default="", help="what messages call the source (its file name)")
    built.add_argument("--version", choices=sorted(VERSIONS), default="v15", help="MuseTalk's rules of box and mask")
    built.add_argument("--parsing_mode", choices=("jaw", "neck", "raw"), default="jaw", help="v15: what is drawn anew")
    built.add_argument("--extra_margin", type=int, default=10, help="v15: pixels below the chin (10)")
    built.add_argument("--bbox_shift", type=int, default=0, help="v1: pixels that the box is moved down (0)")
    built.add_argument("--models", type=Path, default=MODELS, help="where weights are (models)")

    taken = commands.add_parser("import", parents=[common, made], help="from a MuseTalk or LiveTalking avatar folder")
    taken.add_argument("source", type=Path, help="the folder with full_imgs/, mask/, coords.pkl and mask_coords.pkl")

    commands.add_parser("list", parents=[common], help="what there is")
    gone = commands.add_parser("delete", parents=[common], help="remove one for good")
    gone.add_argument("avatar_id", help="its id")
    return parser


def _make(given: argparse.Namespace) -> int:
    """Build or import, under signals; with --json every way it can end is a line."""
    show = _Lines() if given.json else _Bar()
    try:
        with _cancellable():
            info = _build(given, show) if given.command == "build" else _import(given, show)
    except VisageError as error:
        show.failed(str(error), error.status)
        return FAILED
    except Cancelled:
        show.failed("cancelled; nothing was kept", CANCELLED_STATUS)
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more; say nothing at the exit
        return FAILED
    except MemoryError:
        show.failed("there is not enough memory; a smaller --max_side needs less", 503)
        return FAILED
    except Exception as error:
        traceback.print_exc()
        show.failed(f"the build failed: {type(error).__name__}: {error}", VisageError.status)
        return FAILED
    show.done(info, given.avatars)
    return DONE


@contextmanager
def _cancellable() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise Cancelled, once."""
    numbers = (signal.SIGTERM, signal.SIGINT)

    def cancel(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # clearing up is not to be interrupted in turn
        raise Cancelled

    before = [signal.signal(number, cancel) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _build(given: argparse.Namespace, show: _Show) -> AvatarInfo:
    from avatarbuild.build import BuildOptions, Progress, build
    from avatarbuild.source import SourceOptions, parse_colour
    from avatarbuild.tracker import TrackOptions

    try:
        background = parse_colour(given.background)
    except ValueError as error:
        raise BadRequest(f"--background: {error}") from error
    called = "".join(letter for letter in given.source_name if letter.isprintable())[:NAME_MAX]
    options = BuildOptions(
        name=given.name,
        force=given.force,
        source=SourceOptions(given.max_side, given.max_seconds, background, called),
        track=TrackOptions(given.largest),
        blending=_blending(given),
        still_seconds=given.still_seconds,
        models=given.models,
    )

    def report(progress: Progress) -> None:
        show.progress(progress.stage, progress.done, progress.total, progress.note)

    return build(given.source, given.avatar_id, given.avatars, options, report)


def _blending(given: argparse.Namespace) -> Blending:
    """MuseTalk 1.0 knows the shift alone, 1.5 all but the shift, as upstream takes these flags."""
    of_version: dict[str, dict[str, object]] = {
        "v1": {"bbox_shift": given.bbox_shift},
        "v15": {"mode": given.parsing_mode, "extra_margin": given.extra_margin},
    }
    preset = PRESETS[given.version]
    try:
        return type(preset).model_validate(preset.model_dump() | of_version[given.version])
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"--{first['loc'][0]}: {first['msg']}; {first['input']} was given") from error


def _import(given: argparse.Namespace, show: _Show) -> AvatarInfo:
    from avatarbuild.build import BuildOptions, Progress
    from avatarbuild.legacy import take_over

    def report(progress: Progress) -> None:
        show.progress(progress.stage, progress.done, progress.total, progress.note)

    options = BuildOptions(name=given.name, force=given.force)
    return take_over(given.source, given.avatar_id, given.avatars, options, report)


def _list(given: argparse.Namespace) -> int:
    infos = list_avatars(given.avatars)
    for info in infos:
        engines = sorted(info.engines)
        if given.json:
            facts = {"id": info.id, "name": info.name.en, "width": info.width, "height": info.height}
            print(json.dumps({**facts, "frames": info.count, "engines": engines}, ensure_ascii=False))
        else:
            size = f"{info.width}x{info.height}"
            print(f"{info.id:<24} {size:<10} {info.count / info.fps:6.1f} s  {', '.join(engines)}")
    if not infos and not given.json:
        print(f"there is no avatar in {given.avatars}")
    return DONE


def _delete(given: argparse.Namespace) -> int:
    try:
        delete_avatar(given.avatars, given.avatar_id)
    except VisageError as error:
        if not given.json:
            raise
        print(json.dumps({"error": str(error), "status": error.status}, ensure_ascii=False))
        return FAILED
    print(json.dumps({"deleted": given.avatar_id}) if given.json else f"avatar {given.avatar_id} is deleted")
    return DONE


class _Show:
    """Tells how a build goes."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None: ...

    def done(self, info: AvatarInfo, root: Path) -> None: ...

    def failed(self, message: str, status: int) -> None: ...


class _Lines(_Show):
    """For programs: JSON lines on stdout."""

    def __init__(self) -> None:
        self._stage = ""
        self._told_s = 0.0

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if note or stage != self._stage or done == total or now - self._told_s >= REPORT_EVERY_S:
            self._stage, self._told_s = stage, now
            self._print({"stage": stage, "done": done, "total": total} | ({"note": note} if note else {}))

    def done(self, info: AvatarInfo, root: Path) -> None:
        self._print({"avatar": info.id})

    def failed(self, message: str, status: int) -> None:
        self._print({"error": message, "status": status})

    @staticmethod
    def _print(line: dict[str, object]) -> None:
        print(json.dumps(line, ensure_ascii=False), flush=True)


class _Bar(_Show):
    """For people: a bar on stderr, at last a sentence on stdout."""

    def __init__(self) -> None:
        self._stage = ""
        self._told_s = 0.0
        self._is_tty = sys.stderr.isatty()
        self._open = False
        """Whether a bar stands on the terminal's last line."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if note:
            self._end()
            self._say(f"note: {note}\n")
        elif not self._is_tty and stage != self._stage:
            self._say(f"{stage}: {total} frames\n")
        elif self._is_tty and (stage != self._stage or done == total or now - self._told_s >= REPORT_EVERY_S):
            if stage != self._stage:
                self._end()
            self._told_s, self._open = now, True
            bar = "█" * round(done / max(total, 1) * BAR)
            self._say(f"\r{stage:<8} {bar:░<{BAR}} {done}/{total} ")
        self._stage = stage

    def done(self, info: AvatarInfo, root: Path) -> None:
        self._end()
        print(f"avatar {info.id} is in {root / info.id}; see {root / info.id / 'preview.mp4'}")

    def failed(self, message: str, status: int) -> None:
        self._end()
        self._say(f"visage: {message}\n")

    def _end(self) -> None:
        if self._open:
            self._say("\n")
        self._open = False

    @staticmethod
    def _say(*parts: str) -> None:
        print(*parts, sep="", end="", file=sys.stderr, flush=True)
