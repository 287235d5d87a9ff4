"""All channels of a point as one vector of the processor, and arithmetic of such vectors.

These are more of the operations of :mod:`.vectors`, and like them exist inside compiled loops only. How many
channels there are is part of the type of a vector: :data:`zeros` takes it from a tuple of that length. The
numbers are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.rows import FAST
from bids_nodereg.registration.kernels.cpu.vectors import INDEX, Lanes, nothing, operation, same, spread

_EXPONENT_BIAS, _EXPONENT_BITS_FROM = 127, 23
_ALIGNED_TO = 4
"""Bytes: of one number, more is not known."""


def _as_the_last(*kinds: Any) -> Any:
    return kinds[-1]


def _call(builder: Any, name: str, *vectors: Any) -> Any:
    """One of LLVM's own functions."""
    kind = vectors[0].type
    function_type = ir.FunctionType(kind, [kind] * len(vectors))
    full_name = f"llvm.{name}.v{kind.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), vectors)


def _place(builder: Any, numbers: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(numbers, [index]), kind.as_pointer())


def _load(builder: Any, out: Any, numbers: Any, index: Any, like: Any) -> Any:
    del like
    return builder.load(_place(builder, numbers, index, out), align=_ALIGNED_TO)


def _store(builder: Any, _: Any, numbers: Any, index: Any, vector: Any) -> Any:
    builder.store(vector, _place(builder, numbers, index, vector.type), align=_ALIGNED_TO)
    return ir.Constant(ir.IntType(8).as_pointer(), None)


zeros = operation(
    lambda counted: Lanes(counted.dtype, counted.count),
    lambda builder, out, counted: ir.Constant(out, [0.0] * out.count),  # noqa: ARG005  # numba wants the name
)
"""A vector of as many zeros as a tuple has numbers."""
further = operation(same, lambda builder, _, numbers, count: builder.gep(numbers, [count]))
"""The address of the number that comes so many after the one of an address."""
load = operation(_as_the_last, _load)
"""Consecutive numbers by an address and an index, as many as another vector has."""
store = operation(nothing, _store)
"""Write a vector to where an index from an address is."""


def _put(builder: Any, _: Any, numbers: Any, index: Any, value: Any) -> Any:
    builder.store(value, builder.gep(numbers, [index]))
    return ir.Constant(ir.IntType(8).as_pointer(), None)


put = operation(nothing, _put)
"""Write a number to where an index from an address is."""


def _the_vector(*kinds: Any) -> Any:
    return next(kind for kind in kinds if isinstance(kind, Lanes))


def _plus_product(builder: Any, out: Any, first: Any, a: Any, b: Any) -> Any:
    return _call(builder, "fmuladd", *(spread(builder, out, value) for value in (a, b, first)))


plus_product = operation(_the_vector, _plus_product)
"""``first + a b``, rounded once where the processor can. One of them is a vector, others may be numbers."""


def _pairwise(builder: Any, one: Any, other: Any, count: int) -> Any:
    """The first ``count`` sums of neighbours, of the lanes of one vector and then of those of the other."""
    even, odd = (
        builder.shuffle_vector(
            one, other, ir.Constant(ir.VectorType(INDEX, count), list(range(first, 2 * count, 2)))
        )
        for first in (0, 1)
    )
    return builder.fadd(even, odd)


def _sums(builder: Any, out: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    lanes = a.type.count
    total = _pairwise(builder, _pairwise(builder, a, b, lanes), _pairwise(builder, c, d, lanes), lanes)
    while total.type.count > out.count:
        total = _pairwise(builder, total, total, total.type.count // 2)
    return total


sums_of_four = operation(lambda vector, *_: Lanes(vector.element, 4), _sums)
"""The sum of all lanes of each of four vectors, as a vector of four."""


_alike = operation(same, lambda builder, out, _, value: spread(builder, out, value))
"""A vector like another one, with the same number in every lane."""


def _nearest(builder: Any, _: Any, vector: Any) -> Any:
    return _call(builder, "rint", vector)


_nearest_whole = operation(same, _nearest)


def _power(builder: Any, out: Any, whole: Any) -> Any:
    bits = ir.VectorType(INDEX, out.count)
    exponent = builder.add(builder.fptosi(whole, bits), ir.Constant(bits, [_EXPONENT_BIAS] * out.count))
    return builder.bitcast(builder.shl(exponent, ir.Constant(bits, [_EXPONENT_BITS_FROM] * out.count)), out)


_power_of_two = operation(same, _power)
"""2 to whole numbers between -126 and 127."""


def _held(builder: Any, out: Any, vector: Any, most: Any) -> Any:
    for relation, sign in ((">", 1), ("<", -1)):
        bound = spread(builder, out, most)
        bound = bound if sign > 0 else builder.fneg(bound)
        vector = builder.select(builder.fcmp_ordered(relation, vector, bound), bound, vector)
    return vector


_held_within = operation(same, _held)
"""Between two numbers of one size; what is no number stays none."""


@compiled(forceinline=True, fastmath=FAST)
def sigmoid(vector: Any) -> Any:
    """``1 / (1 + exp(-x))`` of every lane, to some units of the last digit.

    The exponential is a power of two times a polynomial of the rest, which is found with a logarithm of 2
    in two parts, so that its rounding does not grow with ``x``. Beyond 86 it is held: the result is 1, or as
    good as 0.
    """
    x = _held_within(vector, np.float32(86)) * np.float32(-1)
    whole = _nearest_whole(x * np.float32(1.4426950408889634))
    x = plus_product(x, whole, np.float32(-0.693359375))
    x = plus_product(x, whole, np.float32(2.12194440e-4))
    series = plus_product(np.float32(1 / 720), x, np.float32(1 / 5040))
    series = plus_product(np.float32(1 / 120), x, series)
    series = plus_product(np.float32(1 / 24), x, series)
    series = plus_product(np.float32(1 / 6), x, series)
    series = plus_product(np.float32(0.5), x, series)
    series = plus_product(np.float32(1), x, series)
    series = plus_product(np.float32(1), x, series)
    return _alike(x, np.float32(1)) / plus_product(np.float32(1), series, _power_of_two(whole))
