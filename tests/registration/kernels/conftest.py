"""The checks of the Triton kernels are modules that import Triton; without it there is nothing to collect."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["cuda_checks.py", "cuda_compiled.py"]
