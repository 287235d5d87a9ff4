"""Roofline of the Triton kernels: bytes that must move, and the share of the copy bandwidth that is reached.

    python benchmarks/kernels_gpu.py --out docs/results/kernels-gpu
    TRITON_INTERPRET=1 python benchmarks/kernels_gpu.py --device cpu --size 9 10 8 --repeats 1

The second line proves without a GPU that the program runs; its times mean nothing. Bytes are those of
arguments and results alone, each once: what a kernel reads again or keeps for itself counts against it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from common import ROOT, write_results
from kernels import Operation

from bids_nodereg.registration.kernels import cuda, reference
from bids_nodereg.registration.kernels.reference.filters import gaussian_kernel
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.smoothing import coarser_shape
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from bids_nodereg.registration.tiling import tiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CHANNELS = 12
COPY_BYTES = 2**30


def operations(shape: tuple[int, int, int], device: torch.device) -> list[Operation]:
    """The operations of an iteration and of the final maps, for images of a shape and half its lattice."""
    half = coarser_shape(shape, 2)
    voxels, points = math.prod(shape), math.prod(half)
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> Tensor:
        return torch.rand(size, generator=generator).to(device)

    image, other, weight = noise(1, 1, *shape), noise(1, 1, *shape), torch.ones(1, 1, *shape, device=device)
    rough = reference.resize(noise(1, 3, 5, 5, 5) - 0.5, half)
    u, fine = 6 * rough, reference.resize(12 * rough, shape)
    descriptors = [cuda.stored(noise(1, CHANNELS, *shape), (0.0, 1.0)) for _ in range(2)]
    stored = sum(of.values.numel() * of.values.element_size() for of in descriptors)
    settings, taps = DescriptorSettings(name="mind-ssc"), gaussian_kernel(1.0, image)
    legs, tiles = [Leg(0, 2, 0.5)], tiling(shape, 11, (3, 5, 7))
    described = 4 * CHANNELS * voxels
    return [
        Operation(
            "descriptor_distance", lambda k, u: k.descriptor_distance(*descriptors, u, weight), u,
            stored + 4 * voxels + 12 * points, 12 * points,
        ),
        Operation(
            "warp", lambda k, u: k.warp(image, u), u, 8 * voxels + 12 * points, 8 * voxels + 24 * points,
        ),
        Operation(
            "warped_histograms", lambda k, u: k.warped_histograms(image, other, u, weight, 16, tiles), u,
            12 * voxels + 12 * points, 12 * voxels + 24 * points,
        ),
        Operation("compose", lambda k, u: k.compose(u, u), u, 24 * points, 36 * points),
        Operation(
            "carry_lattice (rk4, 2 steps)", lambda k, u: k.carry_lattice(u, half, legs, TABLEAUS["rk4"]), u,
            24 * points, 36 * points,
        ),
        Operation("folding_barrier", lambda k, u: k.folding_barrier(u, 0.2), u, 12 * points, 12 * points),
        Operation("mind_ssc", lambda k, i: k.mind_ssc(i, weight, settings), image, 8 * voxels + described,
                  described + 8 * voxels),
        Operation("separable (7 taps)", lambda k, i: k.separable(i, taps), image, 8 * voxels, 8 * voxels),
        Operation("resize (up, 3 components)", lambda k, u: k.resize(u, shape), u, 12 * (voxels + points),
                  12 * (voxels + points)),
        Operation("downsample", lambda k, i: k.downsample(i, half, taps), image, 4 * (voxels + points),
                  4 * (voxels + points)),
        Operation("folded_cells", lambda k, u: k.folded_cells(u), fine, 13 * voxels),
        Operation("fixed_point_inverse (3)", lambda k, u: k.fixed_point_inverse(u, -u, 3), fine, 36 * voxels),
    ]  # fmt: skip


def seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call, after three that compile and warm up, by the events of the GPU."""
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return statistics.median(times)


def copy_bandwidth(device: torch.device, repeats: int) -> float:
    """Bytes read and written per second by a copy."""
    size = COPY_BYTES if device.type == "cuda" else 2**20
    here, there = torch.zeros(2, size, dtype=torch.uint8, device=device)
    return 2 * size / seconds(lambda: there.copy_(here), device, repeats)


def with_gradient(operation: Operation, implementation: Any) -> Callable[[], object]:
    """A call that makes the result and the gradient of its sum."""
    leaf = operation.argument.detach().clone().requires_grad_()

    def run() -> object:
        result = operation.run(implementation, leaf)
        return torch.autograd.grad(result, leaf, torch.ones_like(result))

    return run


def row(operation: Operation, device: torch.device, bandwidth: float, repeats: int) -> dict[str, Any]:
    """Times of Triton and torch, and what Triton reaches."""
    value = seconds(lambda: operation.run(cuda, operation.argument), device, repeats)
    torch_value = seconds(lambda: operation.run(reference, operation.argument), device, repeats)
    result = {
        "operation": operation.name,
        "MB": round(operation.forward / 1e6, 1),
        "ms": round(1e3 * value, 3),
        "of copy bandwidth": f"{operation.forward / value / bandwidth:.0%}",
        "torch, ms": round(1e3 * torch_value, 3),
        "with gradient, MB": "",
        "with gradient, ms": "",
        "with gradient, of copy": "",
        "with gradient, torch, ms": "",
    }
    if operation.backward:
        both = operation.forward + operation.backward
        mine, theirs = (seconds(with_gradient(operation, of), device, repeats) for of in (cuda, reference))
        result |= {
            "with gradient, MB": round(both / 1e6, 1),
            "with gradient, ms": round(1e3 * mine, 3),
            "with gradient, of copy": f"{both / mine / bandwidth:.0%}",
            "with gradient, torch, ms": round(1e3 * theirs, 3),
        }
    return result


def main() -> None:
    """Measure every operation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", nargs=3, type=int, default=[147, 180, 146], help="voxels of an image")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "kernels-gpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("kernels_gpu: there is no CUDA device here; nothing measured.")
        return
    shape = tuple(arguments.size)
    bandwidth = copy_bandwidth(device, arguments.repeats)
    rows = [row(operation, device, bandwidth, arguments.repeats) for operation in operations(shape, device)]
    notes = [
        f"Images of {' x '.join(map(str, shape))} voxels, fields on half the lattice, {CHANNELS} channels.",
        f"Copy bandwidth measured: {bandwidth / 1e9:.0f} GB/s. Medians of {arguments.repeats}, GPU events.",
    ]
    write_results(arguments.out, "Kernels on the GPU", rows, notes)


if __name__ == "__main__":
    main()
