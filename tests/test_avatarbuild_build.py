"""From a clip to an avatar that loads; and from what is no clip of one face to a message and an empty directory."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from avatar import Avatar, list_avatars
from avatarbuild import cli
from avatarbuild.assemble import BuildOptions, Progress
from avatarbuild.build import build
from avatarbuild.encode import read_video
from avatarbuild.eyelids import LEFT_BROW, LEFT_UPPER, Eyelids
from avatarbuild.source import SourceOptions
from avatarbuild.still import Still
from avatarbuild.track import Track
from avatarbuild.tracker import Tracker, TrackOptions
from avatarbuild.workspace import Workspace
from engines.musetalk.place import Places
from errors import BadRequest, Conflict, NotFound, Unavailable, Unprocessable, VisageError
from tests.avatar_clips import beside, mira, turn_by_metadata, wall, write_clip, write_picture

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of her."""
    return write_clip(tmp_path_factory.mktemp("clips") / "mira.mp4", mira(25))


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def refused(source: Path, root: Path, options: BuildOptions | None = None) -> str:
    """The message of a build that must fail and leave nothing."""
    with pytest.raises(VisageError) as caught:
        build(source, "me", root, options)
    assert left_in(root) == []
    return str(caught.value)


# ---- what is built


def test_a_clip_becomes_an_avatar_that_loads(clip: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    info = build(clip, "me", tmp_path, BuildOptions(name="Me"), told.append)
    avatar = Avatar.load(tmp_path / "me")
    assert (avatar.count, avatar.width, avatar.height, avatar.fps) == (25, 256, 256, 25)
    assert avatar.info == info
    assert info.name.en == "Me"
    assert set(info.engines) == {"lite", "musetalk"}
    assert info.mask_origin == "landmarks"
    assert info.track == "track.npz"
    assert left_in(tmp_path) == ["me"]
    assert len(Places.load(avatar)) == 25
    with np.load(tmp_path / "me" / "track.npz", allow_pickle=False) as track:
        assert track["landmarks"].shape == (25, 68, 2)
        assert track["found"].all()
    for k, picture in enumerate(read_video(tmp_path / "me" / "idle.mp4")):
        assert np.abs(picture.astype(int) - mira(25)[k]).mean() < 4
    assert len(list(read_video(tmp_path / "me" / "preview.mp4"))) == 25
    poster = cv2.imread(str(tmp_path / "me" / "poster.jpg"))
    assert poster is not None
    assert poster.shape == (256, 256, 3)
    stages = [progress.stage for progress in told]
    assert list(dict.fromkeys(stages)) == ["decode", "track", "preview", "write"]
    assert all(progress.done <= progress.total for progress in told)
    assert not any(progress.note for progress in told)


def test_the_face_is_where_the_places_are(clip: Path, tmp_path: Path) -> None:
    build(clip, "me", tmp_path)
    avatar = Avatar.load(tmp_path / "me")
    with np.load(tmp_path / "me" / "track.npz") as track:
        mouth = track["landmarks"][:, 48:60].mean(1)
    for place, (x, y) in zip((Places.load(avatar)[k] for k in range(25)), mouth, strict=True):
        left, top, right, bottom = place.region
        assert left < x < right
        assert top < y < bottom
        assert place.mask[int(y) - top, int(x) - left] == 255


def test_sixty_a_second_becomes_twenty_five(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", [mira(25)[k * 25 // 60] for k in range(60)], rate=60)
    assert build(source, "me", tmp_path / "avatars").count == 25


def test_a_vertical_clip_that_is_turned_by_metadata(tmp_path: Path) -> None:
    tall = [np.concatenate([wall(256, 100), picture]) for picture in mira(25)]
    lying = [np.ascontiguousarray(np.rot90(picture)) for picture in tall]
    source = turn_by_metadata(write_clip(tmp_path / "clip.mp4", lying), 90)
    info = build(source, "me", tmp_path / "avatars")
    assert (info.width, info.height) == (256, 356)
    with np.load(tmp_path / "avatars" / "me" / "track.npz") as track:
        nose = track["landmarks"][0, 30]
        assert np.abs(nose - [130, 219]).max() < 6


def test_a_clear_clip(tmp_path: Path) -> None:
    clear = [np.dstack([picture, np.full((256, 256), 255, np.uint8)]) for picture in mira(25)]
    for picture in clear:
        picture[:, :30, 3] = 0
    source = write_clip(tmp_path / "clip.mov", clear, codec="qtrle", pixels="argb")
    build(source, "me", tmp_path / "avatars", BuildOptions(source=SourceOptions(background=(0, 200, 0))))
    first = next(read_video(tmp_path / "avatars" / "me" / "idle.mp4"))
    assert np.abs(first[:, :24].mean((0, 1)) - [0, 200, 0]).max() < 6


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for k, picture in enumerate(mira(25)):
        write_picture(tmp_path / "shots" / f"{k}.png", picture)
    assert build(tmp_path / "shots", "me", tmp_path / "avatars").count == 25


def test_a_face_missing_in_the_middle_is_filled_in_and_told(tmp_path: Path) -> None:
    shots = [wall() if k in (11, 12, 13) else picture for k, picture in enumerate(mira(25))]
    told: list[Progress] = []
    build(write_clip(tmp_path / "clip.mp4", shots), "me", tmp_path / "avatars", None, told.append)
    notes = [progress.note for progress in told if progress.note]
    assert notes == ["no face in frames 11-13 (0.44-0.52 s); its place there is interpolated"]
    with np.load(tmp_path / "avatars" / "me" / "track.npz") as track:
        assert np.flatnonzero(~track["found"]).tolist() == [11, 12, 13]
        assert np.abs(np.diff(track["mesh"], axis=0)).max() < 4


def test_the_largest_of_two_faces(tmp_path: Path) -> None:
    small = np.concatenate([np.zeros((56, 200, 3), np.uint8), mira(1, 200)[0]])
    source = write_clip(tmp_path / "clip.mp4", [beside(small, picture) for picture in mira(25)])
    build(source, "me", tmp_path / "avatars", BuildOptions(track=TrackOptions(largest=True)))
    with np.load(tmp_path / "avatars" / "me" / "track.npz") as track:
        assert track["landmarks"][..., 0].min() > 200


# ---- photos


def test_a_photo_breathes_and_blinks(tmp_path: Path) -> None:
    source = write_picture(tmp_path / "me.png", mira(1)[0])
    info = build(source, "me", tmp_path / "avatars", BuildOptions(still_seconds=3))
    assert info.count == 75
    pictures = list(read_video(tmp_path / "avatars" / "me" / "idle.mp4"))
    moved = [float(np.abs(picture.astype(int) - pictures[0]).mean()) for picture in pictures[1:]]
    assert 0.2 < max(moved) < 12
    steps = [float(np.abs(b.astype(int) - a).mean()) for a, b in zip(pictures, pictures[1:], strict=False)]
    assert max(steps) < 3


def still(seconds: float) -> tuple[Still, np.ndarray]:
    tracker = Tracker("photo")
    tracker.add(mira(1, 512)[0])
    return Still(mira(1, 512)[0], tracker.finish(still=True), seconds), mira(1, 512)[0]


def test_a_still_is_at_rest_where_the_loop_turns_round() -> None:
    motion = still(8)[0].track().mesh.mean(1)
    speed = np.linalg.norm(np.diff(motion, axis=0), axis=1)
    assert speed[0] < 0.1 * speed.max()
    assert speed[-1] < 0.1 * speed.max()
    assert 0.5 < np.ptp(motion[:, 0]) < 10


def test_the_track_of_a_still_moves_with_its_pixels() -> None:
    moving, _ = still(2)
    track = moving.track()
    for number, picture in enumerate(moving.pictures()):
        if number in (20, 40):  # her eyes are open
            tracker = Tracker("frame")
            tracker.add(picture)
            seen = tracker.finish(still=True).mesh[0]
            assert np.abs((seen - track.mesh[number]).mean(0)).max() < 0.25


def test_eyes_close_and_nothing_else_changes() -> None:
    _, picture = still(1)
    tracker = Tracker("photo")
    tracker.add(picture)
    mesh = tracker.finish(still=True).mesh[0]
    lids = Eyelids(picture, mesh)
    shut = lids.closed(1)
    assert np.array_equal(lids.closed(0), picture)
    iris = mesh[468].round().astype(int)
    before, after = (p[iris[1] - 3 : iris[1] + 4, iris[0] - 3 : iris[0] + 4].astype(int) for p in (picture, shut))
    assert np.abs(before - after).mean() > 10
    below = int(mesh[[33, 263], 1].max()) + 25
    assert np.array_equal(shut[below:], picture[below:])


def test_a_closing_lid_moves_no_brow_and_streaks_no_lashes() -> None:
    """A dark line drawn along the lid stays a line, a dark brow stays where it is."""
    _, photo = still(1)
    tracker = Tracker("photo")
    tracker.add(photo)
    mesh = tracker.finish(still=True).mesh[0]
    picture = np.full_like(photo, 180)
    for edge in (LEFT_UPPER, LEFT_BROW):
        cv2.polylines(picture, [mesh[list(edge)].round().astype(np.int32)], False, (20, 20, 20), 2)
    shut = Eyelids(picture, mesh).closed(1)
    x = int(mesh[159, 0].round())
    before, after = (np.nonzero(p[:, x, 0] < 100)[0] for p in (picture, shut))
    brow = before < (mesh[159, 1] + mesh[52, 1]) / 2
    assert set(after[: brow.sum()]) == set(before[brow])
    lid = after[brow.sum() :]
    assert len(lid) <= (~brow).sum() + 1, "the line is no thicker"
    assert lid.min() > before[~brow].max(), "and lower"


# ---- what is refused


def test_a_clip_of_one_picture(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", mira(1))
    said = "clip.mp4 holds a single picture; save it as PNG or JPEG, which is taken as a photo"
    assert refused(source, tmp_path / "avatars") == said


def test_no_face(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", [wall()] * 30)
    assert "clip.mp4: no face was found in any of its 30 frames (1.20 s)" in refused(source, tmp_path / "avatars")


def test_two_faces_side_by_side(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", [beside(picture, picture[:, ::-1]) for picture in mira(25)])
    message = refused(source, tmp_path / "avatars")
    assert "clip.mp4: frame 0 (0.00 s) shows two faces" in message
    assert message.count(" at x ") == 2


def test_a_photo_of_two(tmp_path: Path) -> None:
    source = write_picture(tmp_path / "us.png", beside(mira(1)[0], mira(1)[0][:, ::-1]))
    assert "shows two faces" in refused(source, tmp_path / "avatars")


def test_a_fifth_of_a_second(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", mira(5))
    assert refused(source, tmp_path / "avatars") == "clip.mp4 lasts 0.20 s (5 frames); at least 1 s is needed"


def test_a_face_missing_in_more_than_a_third(tmp_path: Path) -> None:
    shots = [wall() if 5 <= k < 15 else picture for k, picture in enumerate(mira(25))]
    message = refused(write_clip(tmp_path / "clip.mp4", shots), tmp_path / "avatars")
    assert "no face in 10 of 25 frames: frames 5-14 (0.20-0.56 s)" in message


def test_a_damaged_clip(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert "clip.mp4 is not a video that can be read" in refused(source, tmp_path / "avatars")


def test_a_clip_that_ends_in_the_middle(tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    write_clip(source, mira(75), container_options={"movflags": "+faststart"})
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert "clip.mp4 is damaged" in refused(source, tmp_path / "avatars")


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        build(tmp_path / "gone.mp4", "me", tmp_path / "avatars")
    assert left_in(tmp_path / "avatars") == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "ä", "x" * 65])
def test_no_id(clip: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="no avatar id"):
        build(clip, name, tmp_path / "avatars")


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(source=SourceOptions(max_side=9000)),
        BuildOptions(source=SourceOptions(max_seconds=0.5)),
        BuildOptions(still_seconds=1e9),
    ],
)
def test_options_out_of_bounds(clip: Path, tmp_path: Path, options: BuildOptions) -> None:
    with pytest.raises(BadRequest, match="allowed"):
        build(clip, "me", tmp_path / "avatars", options)


# ---- all or nothing


def test_an_avatar_is_not_replaced_unless_asked(clip: Path, tmp_path: Path) -> None:
    build(clip, "me", tmp_path)
    before = (tmp_path / "me" / "avatar.json").stat().st_ino
    with pytest.raises(Conflict, match="avatar me exists already"):
        build(clip, "me", tmp_path)
    assert (tmp_path / "me" / "avatar.json").stat().st_ino == before
    build(clip, "me", tmp_path, BuildOptions(force=True))
    assert (tmp_path / "me" / "avatar.json").stat().st_ino != before
    assert left_in(tmp_path) == ["me"]


def test_a_failed_replacement_keeps_the_avatar(clip: Path, tmp_path: Path) -> None:
    build(clip, "me", tmp_path / "avatars")
    with pytest.raises(Unprocessable):
        empty = write_clip(tmp_path / "empty.mp4", [wall()] * 25)
        build(empty, "me", tmp_path / "avatars", BuildOptions(force=True))
    assert left_in(tmp_path / "avatars") == ["me"]
    assert Avatar.load(tmp_path / "avatars" / "me").count == 25


@pytest.mark.parametrize("stage", ["decode", "track", "preview", "write"])
def test_a_build_that_is_cancelled_leaves_nothing(clip: Path, tmp_path: Path, stage: str) -> None:
    class Stop(BaseException):
        pass

    def stop(progress: Progress) -> None:
        assert list_avatars(tmp_path) == []
        if progress.stage == stage:
            raise Stop

    with pytest.raises(Stop):
        build(clip, "me", tmp_path, None, stop)
    assert left_in(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Track, path: Path) -> NoReturn:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Track, "save", full)
    with pytest.raises(Unavailable, match=r"the disk of .* is full; nothing of avatar me was kept"):
        build(clip, "me", tmp_path)
    assert left_in(tmp_path) == []


def test_what_a_killed_build_left_is_cleared_but_not_what_a_running_one_has(tmp_path: Path) -> None:
    dead = tmp_path / ".building-dead"
    dead.mkdir()
    (dead / "lock").touch()
    with Workspace(tmp_path, "one") as running:
        assert left_in(tmp_path) == [running.directory.parent.name]
        with Workspace(tmp_path, "two"):
            assert running.directory.is_dir()
    assert left_in(tmp_path) == []


def test_two_builds_of_one_id_give_one_avatar(tmp_path: Path) -> None:
    with Workspace(tmp_path, "me") as first, Workspace(tmp_path, "me") as second:
        first.publish()
        with pytest.raises(Conflict, match="exists already"):
            second.publish()
    assert left_in(tmp_path) == ["me"]


# ---- the command line


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    status = cli.main([str(word) for word in words])
    return status, capsys.readouterr().out


def test_the_command_tells_progress_in_json_and_lists_and_deletes(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    status, out = run(capsys, "build", clip, "--avatar_id", "me", "--avatars", tmp_path, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert lines[-1] == {"avatar": "me"}
    assert all(set(line) == {"stage", "done", "total"} for line in lines[:-1])
    assert {line["stage"] for line in lines[:-1]} == {"decode", "track", "preview", "write"}
    assert signal.getsignal(signal.SIGTERM) == before

    status, out = run(capsys, "list", "--avatars", tmp_path, "--json")
    assert json.loads(out)["id"] == "me"
    assert "me" in run(capsys, "list", "--avatars", tmp_path)[1]
    assert run(capsys, "delete", "me", "--avatars", tmp_path)[0] == 0
    assert left_in(tmp_path) == []
    status, out = run(capsys, "delete", "me", "--avatars", tmp_path, "--json")
    assert status == 1
    assert json.loads(out)["status"] == 404
    assert "no avatar" in run(capsys, "list", "--avatars", tmp_path)[1]


def test_the_command_tells_errors_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "clip.mp4", mira(5))
    status, out = run(capsys, "build", source, "--avatar_id", "me", "--avatars", tmp_path / "avatars", "--json")
    assert status == 1
    last = json.loads(out.splitlines()[-1])
    assert last == {"error": "clip.mp4 lasts 0.20 s (5 frames); at least 1 s is needed", "status": 422}


def test_the_command_takes_musetalks_flags(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = ("build", clip, "--avatars", tmp_path)
    flags = ("--version=v15", "--parsing_mode=neck", "--extra_margin=3", "--bbox_shift=7")
    assert run(capsys, *same, "--avatar_id", "five", *flags)[0] == 0
    settings = Places.load(Avatar.load(tmp_path / "five")).settings
    assert (settings.mode, settings.extra_margin, settings.bbox_shift) == ("neck", 3, 0)
    assert run(capsys, *same, "--avatar_id", "one", "--version=v1", *flags[1:])[0] == 0
    settings = Places.load(Avatar.load(tmp_path / "one")).settings
    assert (settings.mode, settings.extra_margin, settings.bbox_shift, settings.expand) == ("raw", 0, 7, 1.2)
    status, out = run(capsys, *same, "--avatar_id", "no", "--extra_margin=-1", "--json")
    assert status == 1
    assert "extra_margin" in json.loads(out)["error"]


def test_an_upload_is_called_what_its_sender_calls_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "3f2a.mp4", mira(5))
    words = ("build", source, "--avatar_id", "me", "--avatars", tmp_path / "avatars", "--source_name", "hol\niday.mp4")
    out = run(capsys, *words, "--json")[1]
    assert json.loads(out.splitlines()[-1])["error"].startswith("holiday.mp4 lasts 0.20 s")


def test_the_command_tells_people_in_words(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", str(clip), "--avatar_id", "me", "--avatars", str(tmp_path), "--background", "red"]
    assert cli.main(words) == 1
    assert "'red' is no colour" in capsys.readouterr().err
    assert cli.main(words[:-2]) == 0
    assert "avatar me is in" in capsys.readouterr().out


def test_sigterm_cancels_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", mira(125))
    root = tmp_path / "avatars"
    command = [sys.executable, "app.py", "avatar", "build", str(source), "--avatar_id", "me", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--avatars", str(root)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["stage"] == "decode"
        assert len(left_in(root)) == 1
        process.send_signal(signal.SIGTERM)
        lines = process.stdout.read().splitlines()
        assert process.wait(30) == 1
    assert json.loads(lines[-1]) == {"error": "cancelled; nothing was kept", "status": 499}
    assert left_in(root) == []


def test_a_build_that_nobody_follows_any_more_ends(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", mira(125))
    root = tmp_path / "avatars"
    command = [sys.executable, "app.py", "avatar", "build", str(source), "--avatar_id", "me", "--json"]
    with subprocess.Popen(
        [*command, "--avatars", str(root)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1
    assert left_in(root) == []


def test_a_fault_of_our_own_is_a_last_line_too(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Track, path: Path) -> NoReturn:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Track, "save", broken)
    status, out = run(capsys, "build", clip, "--avatar_id", "me", "--avatars", tmp_path, "--json")
    assert status == 1
    assert json.loads(out.splitlines()[-1]) == {"error": "the build failed: ZeroDivisionError: by zero", "status": 500}
    assert left_in(tmp_path) == []
