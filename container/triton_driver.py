"""Compile Triton's driver module while the image is built: ``python triton_driver.py CACHE``.

Triton has its own compiler for kernels, but talks to the driver through a small C module, which it compiles
with the system's C compiler when it is first used. Here it is compiled beside a stand-in for ``libcuda.so.1``
and kept in CACHE, under the name by which Triton looks for it where ``TRITON_LIBCUDA_PATH`` is
:data:`DRIVER_PLACE`. An image with CACHE then needs no compiler. The name also tells whether the system has
the program ``file``, so the stage that compiles has it if and only if the image has it.

Triton 3.7 has this one module for all kernels. Older ones compile another for the arguments of each kernel,
and those are not here: without a compiler plain torch then takes over.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DRIVER_PLACE = Path("/opt/caches/libcuda")
"""Named in the image's ``TRITON_LIBCUDA_PATH``; nothing needs to lie there when the module is used."""

DRIVER = "libcuda.so.1"


def make_stand_in(folder: Path) -> None:
    """Make a library of the driver's name with nothing in it: the linker asks for no more."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["gcc", "-shared", f"-Wl,-soname,{DRIVER}", "-x", "c", os.devnull, "-o", str(folder / DRIVER)]
    subprocess.run(words, check=True)  # noqa: S603 # words of our own


def compile_module(cache: Path) -> list[Path]:
    """Let Triton compile its module into a cache; returns the libraries there.

    The module is also loaded by Triton, which fails here as the stand-in has no functions; it is kept before.
    """
    os.environ |= {"TRITON_CACHE_DIR": str(cache), "TRITON_LIBCUDA_PATH": str(DRIVER_PLACE)}
    from triton.backends.nvidia.driver import CudaUtils

    try:
        CudaUtils()
    except ImportError as expected:
        sys.stdout.write(f"not loaded, as expected without a driver: {expected}\n")
    return sorted(cache.rglob("cuda_utils*.so"))


def main(cache: Path) -> int:
    """Compile the module; returns the exit code."""
    stays = DRIVER_PLACE.exists()
    make_stand_in(DRIVER_PLACE)
    try:
        found = compile_module(cache)
    finally:
        if not stays:
            (DRIVER_PLACE / DRIVER).unlink()
            DRIVER_PLACE.rmdir()
    if not found:
        sys.exit(
            "triton_driver.py: Triton compiled no driver module; has it another way now? See its backends."
        )
    sys.stdout.write(f"Triton's driver module: {found[0]} ({found[0].stat().st_size} bytes)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
