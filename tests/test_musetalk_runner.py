"""What is kept of the UNet for each frame, and calling at fixed batch sizes."""

from __future__ import annotations

import logging
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.musetalk.faces import FaceLatents, PrefixCache  # noqa: E402
from engines.musetalk.runner import Runner, batch_sizes  # noqa: E402

CPU = torch.device("cpu")


class TestPrefixCache:
    """Latents are numbers, a prefix is ten times its number, and computing is counted."""

    def cache(self, slots: int) -> tuple[PrefixCache, list[int]]:
        sizes: list[int] = []

        def compute(latents: Any) -> Any:
            sizes.append(len(latents))
            return latents.flatten(1)[:, :1] * 10

        return PrefixCache(slots, (1,), compute, CPU, torch.float32), sizes

    def face(self, *numbers: int) -> FaceLatents:
        return FaceLatents(torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1))

    def gather(self, cache: PrefixCache, *items: tuple[FaceLatents, int]) -> list[float]:
        out = torch.empty(len(items), 1)
        cache.gather(items, out)
        return [float(x) for x in out[:, 0]]

    def test_a_frame_is_computed_once_however_often_it_is_wanted(self) -> None:
        cache, sizes = self.cache(4)
        face = self.face(1, 2, 3)
        assert self.gather(cache, (face, 0), (face, 1), (face, 0)) == [10, 20, 10]
        assert self.gather(cache, (face, 2), (face, 1)) == [30, 20]
        assert sizes == [2, 1] and (cache.hits, cache.misses) == (1, 3)

    def test_the_frame_drawn_longest_ago_makes_room(self) -> None:
        cache, sizes = self.cache(3)
        face = self.face(*range(1, 7))
        for wanted in ((0, 1, 2), (0,), (3,), (0, 3, 2), (1, 4, 5), (0, 1)):
            assert self.gather(cache, *((face, i) for i in wanted)) == [10 * (i + 1) for i in wanted]
        assert sizes == [3, 1, 3, 1], "0, 1, 2; then 3 for 1; then 1, 4, 5; then 0"

    def test_faces_are_told_apart_also_when_one_was_freed(self) -> None:
        cache, _ = self.cache(8)
        for number in range(5):
            assert self.gather(cache, (self.face(number), 0)) == [10 * number]


class TestRunner:
    def runner(self, **options: Any) -> Runner:
        def double(prefix: Any, tokens: Any) -> Any:
            return prefix * 2 + tokens.sum(dim=1, keepdim=True)

        return Runner(double, (3,), (2,), batch_sizes(6), CPU, torch.float32, **options)

    def test_batches_are_powers_of_two_up_to_the_largest(self) -> None:
        assert batch_sizes(16) == (1, 2, 4, 8, 16)
        assert batch_sizes(6) == (1, 2, 4, 6)
        assert batch_sizes(1) == (1,)

    def test_rows_are_those_of_the_buffers(self) -> None:
        runner = self.runner()
        runner.prefix[:3], runner.audio[:3] = 1, torch.arange(6.0).reshape(3, 2)
        assert runner.run(3).tolist() == [[3.0] * 3, [7.0] * 3, [11.0] * 3]
        assert runner.size_for(3) == 3, "on a CPU a shape costs nothing"

    def test_on_cuda_a_batch_is_filled_up_to_the_next_size(self) -> None:
        runner = self.runner()
        runner._cuda = True
        assert [runner.size_for(n) for n in range(1, 7)] == [1, 2, 4, 4, 6, 6]
        runner.mode = "plain"
        assert runner.run(3).shape == (3, 3)

    def test_when_a_graph_cannot_be_captured_it_goes_on_without(self, caplog: pytest.LogCaptureFixture) -> None:
        if torch.cuda.is_available():
            pytest.skip("here it can")
        runner = self.runner()
        runner._cuda, runner.mode = True, "graphs"
        runner.prefix[:3] = 1
        with caplog.at_level(logging.WARNING):
            assert runner.run(3).tolist() == [[2.0] * 3] * 3
        assert str(runner.mode) == "plain" and "cannot be captured" in caplog.text

    def test_when_compiling_fails_it_goes_on_without(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(prefix: Any, tokens: Any) -> Any:
            raise RuntimeError("no compiler")

        monkeypatch.setattr(torch, "compile", lambda *args, **options: broken)
        runner = self.runner(acceleration="compile")
        with caplog.at_level(logging.WARNING):
            assert runner.run(2).shape == (2, 3)
        assert runner.mode == "plain" and "torch.compile failed" in caplog.text

    def test_an_error_of_the_network_itself_is_not_hidden(self) -> None:
        runner = self.runner()
        runner.audio = torch.zeros(6, 2, dtype=torch.int64)
        runner._draw = runner._plain = lambda prefix, tokens: prefix @ tokens
        with pytest.raises(RuntimeError):
            runner.run(2)
