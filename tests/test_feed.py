"""From the clock's thread to aiortc's tracks: bounded, in order, and nothing undecodable."""

from __future__ import annotations

import asyncio
import threading

import av
import pytest
from aiortc.mediastreams import MediaStreamError

from transport.clock import VIDEO_BACKLOG_MAX, Batch
from transport.encoder import EncodedPicture
from transport.feed import AUDIO_QUEUE_PACKETS, PacketFeed


def batch(tick: int) -> Batch:
    """One packet of sound, with a picture on even ticks; both carry the tick as PTS."""
    sound, picture = av.Packet(b"a"), av.Packet(b"v")
    sound.pts = picture.pts = tick
    return Batch(tick, sound, EncodedPicture(picture, tick == 0) if tick % 2 == 0 else None)


async def settle() -> None:
    """Let what other threads handed over arrive."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_packets_arrive_in_order_from_another_thread() -> None:
    feed = PacketFeed(asyncio.get_running_loop())

    def deliver() -> None:
        for tick in range(6):
            feed.deliver(batch(tick))

    thread = threading.Thread(target=deliver)
    thread.start()
    assert [(await feed.audio.recv()).pts for _ in range(6)] == list(range(6))
    assert [(await feed.video.recv()).pts for _ in range(3)] == [0, 2, 4]
    thread.join()
    assert feed.video_backlog() == 0


async def test_a_stalled_loop_costs_old_sound_and_stops_pictures_at_their_source() -> None:
    feed = PacketFeed(asyncio.get_running_loop())
    for tick in range(0, 2 * VIDEO_BACKLOG_MAX, 2):
        feed.deliver(batch(tick))
    assert feed.video_backlog() == VIDEO_BACKLOG_MAX, "counted although the loop has not run"
    for tick in range(1, 101, 2):
        feed.deliver(batch(tick))
    await settle()
    assert feed.audio.dropped == 53 - AUDIO_QUEUE_PACKETS
    assert [(await feed.audio.recv()).pts for _ in range(AUDIO_QUEUE_PACKETS)][-1] == 99, "the newest is kept"
    assert [(await feed.video.recv()).pts for _ in range(VIDEO_BACKLOG_MAX)] == [0, 2, 4]
    assert feed.video.dropped == 0
    assert feed.video_backlog() == 0


async def test_a_sender_that_waits_is_told_of_the_end() -> None:
    feed = PacketFeed(asyncio.get_running_loop())
    waiting = asyncio.create_task(feed.video.recv())
    await settle()
    feed.close()
    with pytest.raises(MediaStreamError):
        await waiting
    with pytest.raises(MediaStreamError):
        await feed.audio.recv()
    feed.deliver(batch(0))
    await settle()
    assert feed.video_backlog() == 0, "what comes after the end is not kept"


async def test_a_recorder_sees_every_batch_before_it_is_sent() -> None:
    seen: list[int] = []
    feed = PacketFeed(asyncio.get_running_loop(), tap=lambda b: seen.append(b.tick))
    feed.deliver(batch(0))
    feed.tap = None
    feed.deliver(batch(1))
    assert seen == [0]
