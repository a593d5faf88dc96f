"""Recordings: what was sent is in the file, and trouble stays in the recording."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from errors import Unavailable
from media import SILENCE
from tests.fakes.real import picture, tone
from transport.clock import Batch
from transport.encoder import H264Encoder, OpusEncoder, VideoEncoder, Vp8Encoder
from transport.recorder import QUEUE_BATCHES, Recorder, RecordLimits

WIDTH, HEIGHT = 64, 48


def batches(encoder: VideoEncoder, units: int, start: int = 0) -> Iterator[Batch]:
    """`units` units of a rising grey and a tone, from unit `start` on."""
    opus, sound = OpusEncoder(), tone(2)
    for unit in range(start, start + units):
        image = picture(WIDTH, HEIGHT, 60 + unit % 100)
        yield Batch(2 * unit, opus.encode(sound[0], 2 * unit), encoder.encode(image, unit))
        yield Batch(2 * unit + 1, opus.encode(sound[1], 2 * unit + 1), None)


def record(path: Path, encoder: VideoEncoder, units: int, **options: RecordLimits) -> Path:
    recorder = Recorder(path, encoder.codec_name, WIDTH, HEIGHT, encoder.request_keyframe, **options)
    for batch in batches(encoder, units, start=7):
        recorder.put(batch)
    return recorder.finish().result(10)


@pytest.mark.parametrize(("kind", "suffix"), [(H264Encoder, ".mp4"), (Vp8Encoder, ".webm")])
def test_file_holds_every_picture_and_sample(kind: type, suffix: str, tmp_path: Path) -> None:
    path = record(tmp_path / f"1{suffix}", kind(WIDTH, HEIGHT, 500_000), 50)
    assert not list(tmp_path.glob("*.part"))
    with av.open(str(path)) as file:
        pictures = [f.to_ndarray()[:HEIGHT].mean() for f in file.decode(video=0)]
    assert len(pictures) == 50
    assert np.allclose(np.diff(pictures), 1, atol=0.9), "pictures out of order"
    with av.open(str(path)) as file:
        samples = sum(f.samples for f in file.decode(audio=0))
    assert 48000 * 2 - 2000 <= samples <= 48000 * 2
    with av.open(str(path)) as file:
        assert file.duration == pytest.approx(2e6, abs=0.05e6)
        times = [float(p.pts * p.time_base) for p in file.demux(file.streams.video[0]) if p.pts is not None]
        assert np.allclose(np.diff(times), 0.04, atol=0.0011)


def test_begins_with_a_key_frame(tmp_path: Path) -> None:
    encoder = H264Encoder(WIDTH, HEIGHT, 500_000)
    early = list(batches(encoder, 20))
    asked: list[bool] = []
    recorder = Recorder(tmp_path / "1.mp4", "h264", WIDTH, HEIGHT, lambda: asked.append(True))
    assert asked
    for batch in early[2:]:  # without the stream's first key frame
        recorder.put(batch)
    encoder.request_keyframe()
    for batch in batches(encoder, 20, start=20):
        recorder.put(batch)
    with av.open(str(recorder.finish().result(10))) as file:
        assert sum(1 for _ in file.decode(video=0)) == 20


def test_ends_at_its_limit(tmp_path: Path) -> None:
    path = record(tmp_path / "1.mp4", H264Encoder(WIDTH, HEIGHT, 500_000), 60, limits=RecordLimits(seconds=1.0))
    with av.open(str(path)) as file:
        assert sum(1 for _ in file.decode(video=0)) == 26


def test_a_disk_error_ends_only_the_recording(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a directory is needed")
    encoder = H264Encoder(WIDTH, HEIGHT, 500_000)
    recorder = Recorder(blocked / "1.mp4", "h264", WIDTH, HEIGHT, encoder.request_keyframe)
    for batch in batches(encoder, 2):
        recorder.put(batch)
    with pytest.raises(Unavailable, match="1.mp4 failed"):
        recorder.finish().result(10)
    for batch in batches(encoder, 2 * QUEUE_BATCHES, start=2):
        recorder.put(batch)  # neither raises nor fills anything


def test_without_pictures_there_is_an_error_and_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "1.mp4", "h264", WIDTH, HEIGHT, lambda: None)
    recorder.put(Batch(0, OpusEncoder().encode(SILENCE, 0), None))
    with pytest.raises(Unavailable, match="before a picture came"):
        recorder.finish().result(10)
    assert not list(tmp_path.iterdir())


def test_a_full_queue_skips_to_the_next_key_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    encoder = H264Encoder(WIDTH, HEIGHT, 500_000)
    recorder = Recorder(tmp_path / "1.mp4", "h264", WIDTH, HEIGHT, lambda: asked.append(True))
    first = list(batches(encoder, 10))
    for batch in first[:4]:
        recorder.put(batch)
    with monkeypatch.context() as full:
        full.setattr(recorder._queue, "put_nowait", _refuse)
        recorder.put(first[4])
    assert recorder.dropped_batches == 1
    assert len(asked) == 2, "the recorder asks for a key frame to go on with"
    for batch in first[6:]:
        recorder.put(batch)
    encoder.request_keyframe()
    for batch in batches(encoder, 10, start=10):
        recorder.put(batch)
    with av.open(str(recorder.finish().result(10))) as file:
        shown = [f.to_ndarray()[:HEIGHT].mean() for f in file.decode(video=0)]
    assert np.allclose(shown, [60, 61, *range(70, 80)], atol=0.9)


def _refuse(batch: Batch) -> None:
    raise queue.Full
