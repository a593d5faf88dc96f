"""Long reels within their budget: what is decoded when, what is shown meanwhile, who is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import Unavailable, Unprocessable
from media import UNIT_S, ping_pong
from reels import AHEAD, IN_USE_S, LongReel, Picture, WholeReel
from reelstore import ReelStore

MIB = 1 << 20


class Numbered:
    """Footage whose pictures hold their own number; `gate` holds decoding up, `broken` pieces are damaged."""

    name = "numbered"
    picture_bytes = MIB // 4

    def __init__(self, count: int = 64, piece: int = 4) -> None:
        self.count = count
        self.piece = piece
        self.decoded: list[int] = []
        self.broken: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def whole(self) -> list[Picture]:
        if self.broken:
            raise Unprocessable("numbered is damaged")
        return [self._picture(k) for k in range(self.count)]

    def pieces(self) -> range:
        return range(0, self.count, self.piece)

    def load(self, piece: int) -> list[Picture]:
        if len(self.decoded):  # the first picture of all is read when the reel is made
            self.gate.wait()
        self.decoded.append(piece)
        if piece in self.broken:
            raise Unprocessable(f"piece {piece} is damaged")
        return [self._picture(k) for k in range(piece * self.piece, min((piece + 1) * self.piece, self.count))]

    def _picture(self, number: int) -> Picture:
        return np.full((1, 1), number, np.uint8)


class Clock:
    """Stands still unless it is told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[ReelStore]:
    """10 MiB: ten pieces of `Numbered`."""
    store = ReelStore(10, clock)
    yield store
    store.close()


def long(store: ReelStore, footage: Numbered) -> LongReel:
    reel = store.reel(footage)
    assert isinstance(reel, LongReel)
    return reel


def settle(store: ReelStore, reel: LongReel, *pieces: int) -> None:
    """Wait until these pieces are there."""
    for piece in pieces:
        store.wait(reel, reel.starts[piece], reel.starts[piece])


def number(picture: Picture) -> int:
    return int(picture[0, 0])


def test_what_fits_into_half_of_the_budget_is_held_whole(store: ReelStore) -> None:
    short = store.reel(Numbered(count=16))
    assert isinstance(short, WholeReel) and store.figures()["reel_bytes"] == 4 * MIB
    assert short.now(3, 15) is short.at(3, 15) and number(short.at(3, 15)) == 3
    with pytest.raises(ValueError, match="read-only"):
        short.at(0, 0)[...] = 1
    assert isinstance(store.reel(Numbered(count=16)), LongReel), "together they would take more than half"


def test_a_whole_reel_that_nobody_holds_gives_its_room_back(store: ReelStore) -> None:
    for _ in range(3):
        assert isinstance(store.reel(Numbered(count=20)), WholeReel)


def test_damaged_footage_takes_no_room(store: ReelStore) -> None:
    damaged = Numbered(count=16)
    damaged.broken = {0}
    with pytest.raises(Unprocessable, match="numbered is damaged"):
        store.reel(damaged)
    assert store.figures()["reel_bytes"] == 0


def test_pictures_are_decoded_once_ahead_of_their_place_in_both_directions(store: ReelStore) -> None:
    footage = Numbered()
    reel = long(store, footage)
    footage.decoded.clear()
    for index in range(2 * footage.count - 2):
        stored, then = (ping_pong(k, footage.count) for k in (index, index + AHEAD))
        settle(store, reel, reel.piece_of(stored))
        assert number(reel.now(stored, then)) == stored
        settle(store, reel, reel.piece_of(then))
    there = footage.decoded[:16]
    assert there[:5] == [0, 2, 1, 3, 4] and sorted(there) == list(range(16)), (
        "the start is cold, then one after another"
    )
    assert len(footage.decoded) <= 16 + 14, "those around the turn are still there"
    assert store.late == 0


def test_one_place_costs_the_same_for_any_number_of_sessions(store: ReelStore) -> None:
    footage = Numbered()
    reel = long(store, footage)
    footage.decoded.clear()
    for _ in range(10):
        settle(store, reel, 5, 8)
        assert number(reel.now(20, 32)) == 20
    assert footage.decoded == [5, 8]


def test_what_is_not_there_is_never_waited_for(store: ReelStore) -> None:
    footage = Numbered()
    reel = long(store, footage)
    footage.gate.clear()
    try:
        assert number(reel.now(20, 32)) == 0, "nothing but the first picture is there"
        footage.gate.set()
        settle(store, reel, 5, 8)
        footage.gate.clear()
        assert number(reel.now(24, 36)) == 23, "the last one before"
        assert number(reel.now(31, 19)) == 32, "the first one after"
        assert store.late == 3 and store.figures()["reel_late_pictures_total"] == 3
    finally:
        footage.gate.set()


def test_the_budget_is_kept_and_what_was_looked_at_last_stays(store: ReelStore) -> None:
    footage = Numbered()
    reel = long(store, footage)
    for piece in range(16):
        settle(store, reel, 0, piece)
        assert store.figures()["reel_bytes"] <= 10 * MIB
    footage.decoded.clear()
    settle(store, reel, 0, *range(8, 16))
    assert footage.decoded == []
    settle(store, reel, 1)
    assert footage.decoded == [1]


def test_a_reel_that_nobody_holds_leaves_no_pieces(store: ReelStore) -> None:
    reel = long(store, Numbered())
    settle(store, reel, 3, 4)
    assert store.figures()["reel_bytes"] == 2 * MIB
    del reel
    assert store.figures()["reel_bytes"] == 0


def test_what_nobody_looks_at_any_more_is_not_decoded(store: ReelStore, clock: Clock) -> None:
    footage = Numbered()
    reel = long(store, footage)
    footage.gate.clear()
    footage.decoded[1:] = []
    busy = [threading.Thread(target=settle, args=(store, reel, piece)) for piece in range(8)]
    for thread in busy:
        thread.start()
    while store.figures()["reel_bytes"] < 8 * MIB:  # all threads of the pool have something to do
        pass
    reel.now(40, 44)
    clock.now += 2 * IN_USE_S
    reel.now(56, 60)
    footage.gate.set()
    for thread in busy:
        thread.join()
    settle(store, reel, 14, 15)
    assert 10 not in footage.decoded and {14, 15} <= set(footage.decoded)


def test_damage_is_told_to_who_waits_and_passed_over_by_who_shows(
    store: ReelStore, caplog: pytest.LogCaptureFixture
) -> None:
    footage = Numbered()
    footage.broken = {5}
    reel = long(store, footage)
    settle(store, reel, 4)
    with pytest.raises(Unprocessable, match="piece 5 is damaged"):
        reel.at(20, 20)
    assert "numbered: pictures 20 on cannot be decoded" in caplog.text
    assert number(reel.now(21, 21)) == 19


def test_one_reel_more_than_there_is_room_for_is_refused(store: ReelStore, clock: Clock) -> None:
    reels = [long(store, Numbered()) for _ in range(4)]
    for reel in reels[:3]:
        store.admit(reel)
        settle(store, reel, 2, 5, 6)
    store.admit(reels[0])  # shares a place
    with pytest.raises(Unavailable, match=r"numbered needs 3 MiB .* 1 of 10 MiB are left .*--avatar_memory"):
        store.admit(reels[3])
    clock.now += 2 * IN_USE_S
    store.admit(reels[3])  # the others are not being shown any more


def test_closed_reels_wait_for_nobody() -> None:
    store = ReelStore(10)
    reel = long(store, Numbered())
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        reel.at(20, 32)
    assert number(reel.now(20, 32)) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(65, 90), st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=30))
def test_any_way_through_any_pieces_gives_the_right_pictures(
    piece: int, count: int, looks: list[tuple[int, bool]]
) -> None:
    store = ReelStore(8)
    try:
        reel = long(store, Numbered(count, piece))
        for index, waits in looks:
            stored, then = ping_pong(index, count), ping_pong(index + AHEAD, count)
            late = store.late
            shown = number(reel.at(stored, then) if waits else reel.now(stored, then))
            assert shown == stored or store.late > late
    finally:
        store.close()


def test_the_place_of_all_moves_while_somebody_shows_it(store: ReelStore) -> None:
    reel = long(store, Numbered())
    assert reel.place(50.0) == reel.place(90.0) == 0
    shown = [reel.show(100.0 + k * UNIT_S) for k in range(75)]
    assert shown == list(range(75))
    assert reel.place(103.0) == reel.show(103.01) == 75, "a second session joins"
    assert reel.place(999.0) == 75, "nobody shows it any more"
    assert [reel.show(1000.0 + k * UNIT_S) for k in range(3)] == [75, 76, 77]
