"""`RateControl`: how many bits of picture the network of one client carries, from what its receiver reports."""

from __future__ import annotations

from transport.aiortc_fixes import Feedback
from transport.encoder import BITRATE_FLOOR_BPS

REMB_SHARE = 0.9  # of the receiver's estimate, which counts sound, headers and retransmissions as well
LOSS_HIGH, LOSS_LOW = 0.10, 0.02  # back off above, recover below: draft-ietf-rmcat-gcc-02 section 6
RECOVERY = 1.08  # per report, about one a second; the same draft's growth


class RateControl:
    """The lower of two bounds: the receiver's bandwidth estimate, which sees delay, and our own, which sees loss."""

    def __init__(self, wanted_bps: int) -> None:
        """Begin at `wanted_bps`, what the picture deserves; more is never asked for."""
        self.target_bps = wanted_bps
        self._wanted_bps = wanted_bps
        self._loss_bound_bps = float(wanted_bps)
        self._reports = 0

    def update(self, feedback: Feedback) -> int:
        """The rate to aim at now."""
        if feedback.reports != self._reports:
            self._reports = feedback.reports
            if feedback.loss > LOSS_HIGH:
                self._loss_bound_bps = max(BITRATE_FLOOR_BPS, self.target_bps * (1 - feedback.loss / 2))
            elif feedback.loss < LOSS_LOW:
                self._loss_bound_bps = min(self._wanted_bps, self._loss_bound_bps * RECOVERY)
        bounds = [self._loss_bound_bps]
        if feedback.bitrate_bps is not None:
            bounds.append(REMB_SHARE * feedback.bitrate_bps)
        self.target_bps = max(BITRATE_FLOOR_BPS, round(min(bounds)))
        return self.target_bps
