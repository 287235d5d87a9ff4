"""Compile the Triton kernels to machine code, without a GPU; run by test_cuda_kernels.py as a program.

The interpreter takes what the compiler refuses, so both must be asked. Nothing is executed: what a kernel
should have written stays as it was.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as compile_kernel

from bids_nodereg.registration.kernels import cuda
from bids_nodereg.registration.kernels.cuda import launch as launching
from bids_nodereg.registration.settings import DescriptorSettings
from tests.registration.kernels import cuda_checks

if TYPE_CHECKING:
    from types import ModuleType

TARGET = GPUTarget("cuda", 90, 32)

POINTERS = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}

OPTIONS = ("num_warps", "enable_fp_fusion")


def type_of(value: object) -> str:
    """What Triton calls the type of an argument."""
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def compile_only(compiled: set[str], function: Any, arguments: tuple[object, ...], constants: dict) -> None:
    """Compile a kernel for the types of its arguments, once for each set of constants."""
    options = {name: constants.pop(name) for name in OPTIONS if name in constants}
    values = dict(zip(function.arg_names, arguments, strict=False)) | constants
    fixed = {(n,): values[p.name] for n, p in enumerate(function.params) if p.is_constexpr}
    types = {p.name: "constexpr" if p.is_constexpr else type_of(values[p.name]) for p in function.params}
    aligned = {
        (n,): [["tt.divisibility", 16]]
        for n, p in enumerate(function.params)
        if isinstance(values[p.name], torch.Tensor)
    }
    name = f"{function.fn.__module__}.{function.fn.__name__} {sorted(fixed.items())}"
    if name not in compiled:
        compile_kernel(ASTSource(function, types, fixed, aligned), target=TARGET, options=options)
        compiled.add(name)


def modules() -> list[ModuleType]:
    """The modules that launch kernels."""
    package = cuda.__name__
    names = {getattr(cuda, name).__module__ for name in cuda.__all__} | {f"{package}.scatter"}
    return [import_module(name) for name in names]


def main() -> int:
    """Call every operation with tensors on the CPU and compile what it would launch."""
    compiled: set[str] = set()

    def launch(function: Any, _programs: int, *arguments: object, **constants: object) -> None:
        compile_only(compiled, function, arguments, {"enable_fp_fusion": True, **constants})

    launching.launch = launch
    for module in modules():
        if hasattr(module, "launch"):
            module.launch = launch
    cuda_checks.DEVICE = "cpu"
    cuda_checks.iteration(*cuda_checks.iteration_inputs())
    field = torch.rand(1, 3, *cuda_checks.SHAPE, requires_grad=True)
    cuda.sample(field, torch.rand(1, 3, 5, 1, 1)).sum().backward()
    cuda.downsample(field, (4, 5, 3), torch.rand(3)).sum().backward()
    image = torch.rand(1, 1, *cuda_checks.SHAPE, requires_grad=True)
    cuda.mind_ssc(image, None, DescriptorSettings(name="mind-ssc")).sum().backward()
    cuda.fixed_point_inverse(field, field, 2)
    cuda.folded_cells(field)
    sys.stdout.write(f"{len(compiled)} kernels compiled\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
