"""Rate control: down with loss and with the receiver's estimate, up again when both allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.aiortc_fixes import Feedback
from transport.encoder import BITRATE_FLOOR_BPS
from transport.rate import RateControl

WANTED_BPS = 1_000_000


def test_nothing_known_means_what_the_picture_deserves() -> None:
    assert RateControl(WANTED_BPS).update(Feedback()) == WANTED_BPS


def test_the_receivers_estimate_bounds_and_frees() -> None:
    rate = RateControl(WANTED_BPS)
    assert rate.update(Feedback(400_000)) == 360_000
    assert rate.update(Feedback(5_000_000)) == WANTED_BPS


def test_loss_backs_off_once_per_report_and_recovers() -> None:
    rate, feedback = RateControl(WANTED_BPS), Feedback(loss=0.2, reports=1)
    assert rate.update(feedback) == 900_000
    assert rate.update(feedback) == 900_000, "an estimate in between is no new report of loss"
    feedback.reports = 2
    assert rate.update(feedback) == 810_000
    feedback.loss = 0.05
    feedback.reports = 3
    assert rate.update(feedback) == 810_000, "some loss is normal: hold"
    feedback.loss = 0.0
    steps = []
    for report in range(4, 9):
        feedback.reports = report
        steps.append(rate.update(feedback))
    assert steps == sorted(steps)
    assert steps[-1] == WANTED_BPS


@given(st.lists(st.tuples(st.floats(0, 1), st.one_of(st.none(), st.integers(0, 10**8))), max_size=50))
def test_never_out_of_bounds(reports: list[tuple[float, int | None]]) -> None:
    rate = RateControl(WANTED_BPS)
    for number, (loss, estimate) in enumerate(reports):
        assert BITRATE_FLOOR_BPS <= rate.update(Feedback(estimate, loss, None, number + 1)) <= WANTED_BPS
