"""The benchmarks are scripts, not a package that is installed: make them importable."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

for folder in (BENCHMARKS, BENCHMARKS / "peers" / "adapters"):
    sys.path.append(str(folder))
