"""One row of the table: a figure, its bar, what was measured and whether it passes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from benchmarks.analysis import spread

Judge = Literal["p50", "p95", "worst", "least"]


@dataclasses.dataclass
class Figure:
    """`values` in `unit`, judged by one statistic against `bar` (None: reported only)."""

    scenario: str
    name: str
    unit: str
    values: list[float]
    bar: float | None = None
    judge: Judge = "p95"
    """`worst` and `p95` must not exceed the bar, in magnitude where offsets have a sign; `least` must reach it."""
    note: str = ""
    other_cores: float = 0.0
    """Cores that other work on the machine took meanwhile: figures measured beside it are worse than the product."""
    failed: list[str] = dataclasses.field(default_factory=list)
    """Attempts that gave no value, and why: any of them fails the row."""

    @property
    def judged(self) -> float | None:
        """The statistic that is held against the bar."""
        if not self.values:
            return None
        if self.judge == "least":
            return min(self.values)
        sizes = spread([abs(v) for v in self.values])
        return None if sizes is None else float(getattr(sizes, self.judge))

    @property
    def passed(self) -> bool | None:
        """None when there is nothing to pass: no bar."""
        if self.bar is None:
            return None
        if self.judged is None or self.failed:
            return False
        return self.judged >= self.bar if self.judge == "least" else self.judged <= self.bar

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = spread(self.values)
        return {
            **dataclasses.asdict(self),
            "spread": None if values is None else dataclasses.asdict(values),
            "judged": self.judged,
            "passed": self.passed,
        }
