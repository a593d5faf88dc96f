"""Figures as JSON and as the Markdown table of docs/measurements.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.analysis import spread
from benchmarks.figures import Figure

RELATION = {"p50": "p50 ≤", "p95": "p95 ≤", "worst": "max ≤", "least": "≥"}
VERDICT = {True: "yes", False: "**no**", None: "-"}


def number(value: float) -> str:
    """Three significant digits are more than any of these measurements holds."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(figure: Figure) -> str:
    """One line of the table."""
    values = spread(figure.values)
    bar = "-" if figure.bar is None else f"{RELATION[figure.judge]} {number(figure.bar)} {figure.unit}"
    if values is None:
        measured = "nothing measured"
    elif values.n == 1:
        measured = f"{number(values.p50)} {figure.unit}"
    else:
        low = number(min(figure.values))
        measured = (
            f"{number(values.p50)} / {number(values.p95)} {figure.unit} ({low}…{number(values.worst)}, n={values.n})"
        )
    if figure.judge != "least" and figure.judged is not None and min(figure.values) < 0:
        measured += f"; {RELATION[figure.judge].split()[0]} of the magnitude {number(figure.judged)} {figure.unit}"
    if figure.failed:
        measured += f"; {len(figure.failed)} failed: {figure.failed[0]}"
    if figure.note:
        measured += f"; {figure.note}"
    return f"| {figure.name} | {bar} | {measured} | {VERDICT[figure.passed]} | {figure.other_cores:.1f} |"


def markdown(machine: dict[str, Any], figures: list[Figure]) -> str:
    """The table under a line on the machine."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"`{machine['command']}`, {machine['date']}, commit {machine['commit']}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; load average at the start "
        f"{', '.join(map(str, machine['load_average']))}; {machine['system']}, Python {machine['python']}, "
        f"{machine['chromium']}, {packages}.",
        "",
        "| figure | bar | measured: p50 / p95 (min…max) | reached | cores taken by other work |",
        "|---|---|---|---|---|",
        *map(row, figures),
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path, machine: dict[str, Any], figures: list[Figure]) -> None:
    """`bench.json` and `bench.md` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "figures": [figure.as_dict() for figure in figures]}
    (folder / "bench.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(markdown(machine, figures), encoding="utf-8")
