"""Seconds of every kernel on the CPU, compiled and in torch, beside the bytes that it must move.

    python benchmarks/kernels.py --out docs/results/kernels
    python benchmarks/kernels.py --size 33 40 31 --repeats 1 --out /tmp/kernels      a few seconds

Both implementations run in turns and the fastest of the repeats counts, so that a busy machine is busy for
both. Bytes are those of arguments and results alone, each once: what a kernel reads again or keeps for itself
counts against it. With gradient means the result and the gradient of its sum. ``kernels_gpu.py`` is the same
for the Triton kernels.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import torch
from common import ROOT, write_results

from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.kernels.reference.filters import gaussian_kernel
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.smoothing import coarser_shape
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from bids_nodereg.registration.tiling import tiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CHANNELS = 12
RADIUS = 0.83
"""Of the ellipsoid that counts, relative to the box: three tenths of the voxels, as in a head's box."""

COPY_FLOATS = 2**26


@dataclass(frozen=True)
class Operation:
    """One kernel and what it must move.

    Attributes
    ----------
    name
        As in the interface.
    run
        From an implementation and the argument that gets a gradient to the result.
    argument
        That argument.
    forward, backward
        Bytes that must move without a gradient, and the further ones with it; 0 where there is none.
    """

    name: str
    run: Callable[[Any, Tensor], Tensor]
    argument: Tensor
    forward: int
    backward: int = 0


def ellipsoid(shape: tuple[int, int, int]) -> Tensor:
    """A weight like a brain's in its box, ``1 1 i j k``."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    return (torch.stack(axes).square().sum(0) < RADIUS**2).float()[None, None]


def operations(shape: tuple[int, int, int]) -> list[Operation]:
    """The operations of an iteration and of the final maps, for images of a shape and half its lattice."""
    half = coarser_shape(shape, 2)
    voxels, points = math.prod(shape), math.prod(half)
    torch.manual_seed(0)
    image, other, weight = torch.rand(1, 1, *shape), torch.rand(1, 1, *shape), ellipsoid(shape)
    rough = reference.resize(torch.rand(1, 3, 7, 7, 7) - 0.5, half)
    u, fine = 4 * rough, reference.resize(8 * rough, shape)
    described = [torch.rand(1, CHANNELS, *shape) for _ in range(2)]
    stored = {k: [k.stored(one, (0.0, 1.0)) for one in described] for k in (cpu, reference)}
    settings, taps = DescriptorSettings(name="mind-ssc"), gaussian_kernel(1.0, image)
    old_mind = DescriptorSettings(name="mind")
    latent = torch.randn(*half, 16)
    weights = [torch.randn(16, 16) / 4, torch.randn(16), torch.randn(3, 16), torch.randn(3)]
    weights = [one.requires_grad_() for one in weights]
    legs, tiles = [Leg(0, 1, 1.0)], tiling(shape, 11, (3, 5, 7))
    counted = int(weight.sum())
    return [
        Operation(
            "descriptor_distance", lambda k, u: k.descriptor_distance(*stored[k], u, weight), u,
            4 * voxels + 32 * counted + 12 * points, 12 * points,
        ),
        Operation(
            "warped_histograms", lambda k, u: k.warped_histograms(image, other, u, weight, 16, tiles), u,
            4 * voxels + 8 * counted + 12 * points, 4 * voxels + 8 * counted + 24 * points,
        ),
        Operation("warp", lambda k, u: k.warp(image, u), u, 8 * voxels + 12 * points,
                  8 * voxels + 24 * points),
        Operation("mind_ssc", lambda k, i: k.mind_ssc(i, weight, settings), image,
                  8 * voxels + 4 * CHANNELS * voxels, 4 * CHANNELS * voxels + 8 * voxels),
        Operation("mind", lambda k, i: k.mind(i, weight, old_mind), image,
                  8 * voxels + 24 * voxels, 24 * voxels + 8 * voxels),
        Operation("perceptron (16 channels)", lambda k, z: k.perceptron(z, *weights), latent,
                  4 * 16 * points + 12 * points, 8 * 16 * points + 12 * points),
        Operation("separable (7 taps, 3 components)", lambda k, u: k.separable(u, taps), u, 24 * points,
                  24 * points),
        Operation("resize (up, 3 components)", lambda k, u: k.resize(u, shape), u, 12 * (voxels + points),
                  12 * (voxels + points)),
        Operation("downsample", lambda k, i: k.downsample(i, half, taps), image, 4 * (voxels + points),
                  4 * (voxels + points)),
        Operation("sample", lambda k, i: k.sample(i, fine), image, 20 * voxels, 20 * voxels),
        Operation("compose", lambda k, u: k.compose(u, u), u, 24 * points, 36 * points),
        Operation("carry_lattice (rk4, 1 step)",
                  lambda k, u: k.carry_lattice(u, half, legs, TABLEAUS["rk4"]), u, 24 * points, 36 * points),
        Operation("carry_lattice (rk4, onto the images)",
                  lambda k, u: k.carry_lattice(u, shape, legs, TABLEAUS["rk4"]), u, 12 * (voxels + points)),
        Operation("folding_barrier", lambda k, u: k.folding_barrier(u, 0.1), u, 12 * points, 12 * points),
        Operation("squared_gradient", lambda k, u: k.squared_gradient(u, None), u, 12 * points, 12 * points),
        Operation("folded_cells", lambda k, u: k.folded_cells(u), fine, 13 * voxels),
        Operation("fixed_point_inverse (3)", lambda k, u: k.fixed_point_inverse(u, -u, 3), fine, 36 * voxels),
    ]  # fmt: skip


def call(operation: Operation, implementation: Any) -> Callable[[], object]:
    """A call that makes the result, and the gradient of its sum where there is one."""
    if operation.backward == 0:
        return lambda: operation.run(implementation, operation.argument)
    leaf = operation.argument.detach().clone().requires_grad_()

    def run() -> object:
        result = operation.run(implementation, leaf)
        return torch.autograd.grad(result, leaf, torch.ones_like(result))

    return run


def use_threads(threads: int) -> None:
    """Numba first, as the start of its threads sets torch's number too."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(threads)


def lasts(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    start = clock()
    run()
    return clock() - start


def copy_bandwidth(repeats: int) -> float:
    """Bytes read and written per second by a copy on one thread."""
    here, there = torch.zeros(2, COPY_FLOATS)
    best = min(lasts(lambda: there.copy_(here), time.perf_counter) for _ in range(3 + repeats))
    return 8 * COPY_FLOATS / best


def row(operation: Operation, bandwidth: float, repeats: int, threads: int) -> dict[str, Any]:
    """Seconds of both implementations on one thread, of the compiled one on several, and what it reaches."""
    runs = {"compiled": call(operation, cpu), "torch": call(operation, reference)}
    for run in runs.values():
        run()
    one = dict.fromkeys(runs, math.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            one[name] = min(one[name], lasts(run, time.process_time))
    use_threads(threads)
    several = min(lasts(runs["compiled"], time.perf_counter) for _ in range(repeats))
    use_threads(1)
    moved = operation.forward + operation.backward
    return {
        "operation": operation.name + (", with gradient" if operation.backward else ""),
        "MB": round(moved / 1e6, 1),
        "CPU ms, 1 thread": round(1e3 * one["compiled"], 2),
        f"wall ms, {threads} threads": round(1e3 * several, 2),
        "of copy bandwidth, 1 thread": f"{moved / one['compiled'] / bandwidth:.0%}",
        "torch, CPU ms, 1 thread": round(1e3 * one["torch"], 2),
        "times faster": round(one["torch"] / one["compiled"], 1),
    }


def main() -> None:
    """Measure every operation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", nargs=3, type=int, default=[147, 180, 146], help="voxels of an image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "kernels")
    arguments = parser.parse_args()
    use_threads(1)
    i, j, k = arguments.size
    bandwidth = copy_bandwidth(arguments.repeats)
    rows = [
        row(operation, bandwidth, arguments.repeats, arguments.threads) for operation in operations((i, j, k))
    ]
    notes = [
        f"Images of {i} x {j} x {k} voxels, three tenths of which count; fields on half the lattice, "
        f"{CHANNELS} channels.",
        f"Copy bandwidth measured, one thread: {bandwidth / 1e9:.1f} GB/s. Best of {arguments.repeats}.",
    ]
    write_results(arguments.out, "Kernels on the CPU", rows, notes)


if __name__ == "__main__":
    main()
