"""Fuzz one target, guided by coverage (atheris, which is libFuzzer for Python).

``python -m fuzz.run TARGET --runs N --corpus FOLDER`` goes on from what the folder holds. It ends with an
error at the first finding, which is kept beside as ``crash-*``, ``timeout-*`` or ``oom-*``.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from fuzz.targets import Target

SECONDS_PER_CASE = 60
"""A file of HDF5 may take what the process which reads it is given; all else is instant."""
MEMORY = 2**30
"""Bytes that reading may take beyond what the process has when it begins."""
LONGEST = 16384


def main() -> None:
    """Parse the arguments and fuzz; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=10000)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with atheris.instrument_imports(include=["bids_nodereg"]):
        from fuzz.targets import TARGETS, checksum
    target = TARGETS[options.target]
    _instrument(target.modules)
    corpus = options.corpus / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for content in target.seeds():
        (corpus / f"seed-{checksum(content)}").write_bytes(content)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder, target.around() as endings:
        place = Path(folder)
        for content in target.seeds():  # what is imported late is there before the limit
            target.run(content, place)
        _limit_memory()
        if target.guided:
            flags = [
                f"-runs={options.runs}",
                f"-timeout={SECONDS_PER_CASE}",
                f"-max_len={LONGEST}",
                f"-seed={options.seed}",
                f"-artifact_prefix={options.corpus}/{options.target}-",
                "-rss_limit_mb=0",
                "-print_final_stats=1",
            ]
            atheris.Setup([sys.argv[0], *flags, str(corpus)], lambda content: target.run(content, place))
            atheris.Fuzz()
        else:
            _blindly(target, options.runs, random.Random(options.seed), place, options.corpus)  # noqa: S311
            sys.stderr.write(f"stat::endings: {json.dumps(endings)}\n")


def _blindly(target: Target, runs: int, rng: random.Random, place: Path, kept: Path) -> None:
    """Change the seeds at random, and read them; tells what libFuzzer tells at its end."""
    seeds = target.seeds()
    longest = 0.0
    began = time.monotonic()
    for _ in range(runs):
        content = target.mutate(rng.choice(seeds), rng)
        (kept / "composite-last").write_bytes(content)  # what is left when this process dies
        start = time.monotonic()
        target.run(content, place)
        longest = max(longest, time.monotonic() - start)
    sys.stderr.write(f"Done {runs} runs in {time.monotonic() - began:.0f} second(s)\n")
    sys.stderr.write(f"stat::number_of_executed_units: {runs}\nstat::slowest_unit_time_sec: {longest:.0f}\n")


def _instrument(modules: tuple[str, ...]) -> None:
    """Count coverage in libraries too: they are loaded, so their functions are changed in place."""
    for name, module in list(sys.modules.items()):
        if modules and name.startswith(modules):
            for attribute, value in list(vars(module).items()):
                if getattr(value, "__module__", None) == name and hasattr(value, "__code__"):
                    setattr(module, attribute, atheris.instrument_func(value))
                elif isinstance(value, type) and value.__module__ == name:
                    _instrument_class(value)


def _instrument_class(kind: type) -> None:
    for attribute, value in list(vars(kind).items()):
        if hasattr(value, "__code__"):
            setattr(kind, attribute, atheris.instrument_func(value))


def _limit_memory() -> None:
    """Make memory without bound an exception, which is a finding."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _fast_folder() -> str | None:
    memory = Path("/dev/shm")  # noqa: S108 - a random folder is made in it
    return str(memory) if memory.is_dir() else None


if __name__ == "__main__":
    main()
