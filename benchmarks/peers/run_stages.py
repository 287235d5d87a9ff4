"""Run the program once in this process and tell where its time went: ``run_stages.py TOLD.json WORDS ...``.

Functions of the program are wrapped by their names, each with the name of its stage; a stage does not count
what other stages do inside it. Times of levels are those that the optimiser tells. Right for runs that do one
thing at a time, which a single pair does.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections import defaultdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

REST = "finding the pair, imports, dataset files"
REGISTER = "final maps, folds, between levels"
STAGES = {
    "read": ["app.images:read_image"],
    "prepare (mask, window, bias field)": ["app.images:_prepare"],
    "affine start": ["app.stages:find_affine"],
    "onto the working grid": ["app.stages:deform"],
    REGISTER: ["app.stages:register"],
    "write": [
        *("app.pair:write_transforms", "app.pair:write_images", "app.pair:write_jacobian"),
        *("app.pair:write_quality", "app.pair:write_sidecars"),
    ],
    "measure": ["app.pair:_judged"],
    "draw": ["app.pair:present_pair"],
    "report": ["app.pages:write_report"],
}
MIB = 1 << 10
"""Linux counts the peak of memory in KiB."""


class Clock:
    """Seconds of wall clock and processor by stage."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.peak_mib: dict[str, float] = {}
        self.levels: dict[str, float] = {}
        self._open = [REST]
        self._last = (time.perf_counter(), time.process_time())

    def turn(self) -> None:
        """Count what has passed for the stage that is open."""
        now = (time.perf_counter(), time.process_time())
        for place in (0, 1):
            self.spent[self._open[-1]][place] += now[place] - self._last[place]
        self._last = now
        self.peak_mib[self._open[-1]] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB

    def wrap(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """Count a function's time for a stage."""

        @wraps(function)
        def counted(*arguments: Any, **options: Any) -> Any:
            self.turn()
            self._open.append(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.turn()
                self._open.pop()

        return counted

    def listening(self, register: Callable[..., Any]) -> Callable[..., Any]:
        """Hear how long each level takes."""

        @wraps(register)
        def heard(pair: Any, settings: Any, on_step: Callable[[Any], None], *more: Any) -> Any:
            def hear(step: Any) -> None:
                self.levels[f"level {step.level} of {step.levels}"] = step.seconds
                on_step(step)

            return register(pair, settings, hear, *more)

        return heard

    def told(self) -> list[dict[str, Any]]:
        """One row a stage, with the levels beside."""
        self.turn()
        rows = []
        for stage in (REST, *STAGES):
            wall, cpu = self.spent[stage]
            if stage == REGISTER:
                share = cpu / wall if wall else 0.0
                for name, seconds in self.levels.items():
                    peak = self.peak_mib.get(stage)
                    rows.append(
                        {"stage": name, "wall_s": seconds, "cpu_s": seconds * share, "peak_mib": peak}
                    )
                within = sum(self.levels.values())
                wall, cpu = wall - within, cpu - within * share
            rows.append({"stage": stage, "wall_s": wall, "cpu_s": cpu, "peak_mib": self.peak_mib.get(stage)})
        return rows


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit code."""
    clock = Clock()
    from bids_nodereg.cli import main as program

    for stage, places in STAGES.items():
        for place in places:
            name, _, attribute = place.partition(":")
            module = importlib.import_module(f"bids_nodereg.{name}")
            function = getattr(module, attribute)
            function = clock.listening(function) if stage == REGISTER else function
            setattr(module, attribute, clock.wrap(function, stage))
    code = program(arguments[1:])
    Path(arguments[0]).write_text(json.dumps(clock.told(), indent=2) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
