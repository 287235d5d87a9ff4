"""Short vectors of numbers that a processor computes with at once, for the compiled loops.

numba turns loops over many voxels into vector instructions, but not the few components of one voxel. Here
four components lie together, the last a zero, and eight are those of two neighbours along the last axis.
LLVM makes of them what the processor has. Every sum has a fixed order.

The operations are numba intrinsics: what is named here exists inside compiled loops only.
"""

from __future__ import annotations

import inspect
import operator
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, overload, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

INDEX = ir.IntType(32)


class Lanes(types.Type):
    """``count`` numbers of one floating point type."""

    def __init__(self, element: types.Float, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(name=f"Lanes({element}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = manager.lookup(lanes.element).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))  # type: ignore[no-untyped-call]  # numba


def operation(result: Callable[..., Any], build: Callable[..., Any]) -> Any:
    """Make an intrinsic.

    Parameters
    ----------
    result
        numba's type of the result, given those of the arguments.
    build
        The LLVM value, given the builder, the LLVM type of the result, and the arguments.
    """

    def typed(_: Any, *kinds: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return build(builder, context.get_value_type(signature.return_type), *values)

        return result(*kinds)(*kinds), generate

    # numba asks for the names of the arguments: those of the builder's function after its first two.
    names = ["typing_context", *list(inspect.signature(build).parameters)[2:]]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return intrinsic(typed)


def _lanes_of(count: int) -> Callable[..., Lanes]:
    """As many numbers of the kind that the first argument points to."""
    return lambda numbers, *_: Lanes(numbers.dtype, count)


def same(first: Any, *_: Any) -> Any:
    """A result of the type of the first argument."""
    return first


def _element(vector: Lanes) -> Any:
    return vector.element


def nothing(*_: Any) -> Any:
    """No result."""
    return types.void


def _at(builder: Any, numbers: Any, row: Any, kind: Any) -> Any:
    """Where a row of four begins, as a pointer to a vector."""
    first = builder.gep(numbers, [builder.mul(row, row.type(4))])
    return builder.bitcast(first, kind.as_pointer())


def _bytes(vector: Any) -> int:
    """Size of one lane: no vector is aligned to more."""
    return 8 if isinstance(vector.element, ir.DoubleType) else 4


def _load(builder: Any, out: Any, numbers: Any, row: Any) -> Any:
    return builder.load(_at(builder, numbers, row, out), align=_bytes(out))


def _store(builder: Any, _: Any, numbers: Any, row: Any, vector: Any) -> Any:
    builder.store(vector, _at(builder, numbers, row, vector.type), align=_bytes(vector.type))
    return ir.Constant(ir.IntType(8).as_pointer(), None)


load4 = operation(_lanes_of(4), _load)
"""Row of a packed array by its address."""
load8 = operation(_lanes_of(8), _load)
"""The same and the row after it."""
store4 = operation(nothing, _store)
"""Write a row."""


@intrinsic
def _data(_: Any, array: Any) -> Any:
    if array.layout != "C":
        msg = f"rows: expected a C-contiguous array, got {array}"
        raise TypingError(msg)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate


rows: Any = _data
"""Address of a C-contiguous array. numba counts the references to an array that is handed on, by atomic
operations that cost more than an interpolation; not those to an address."""


def _number(builder: Any, _: Any, numbers: Any, index: Any) -> Any:
    return builder.load(builder.gep(numbers, [index]))


number = operation(lambda numbers, _: numbers.dtype, _number)
"""One number by its address and index."""


def _four(builder: Any, out: Any, i: Any, j: Any, k: Any) -> Any:
    vector = ir.Constant(out, [0.0] * 4)
    for n, value in enumerate((i, j, k)):
        vector = builder.insert_element(vector, value, INDEX(n))
    return vector


four = operation(lambda number, *_: Lanes(number, 4), _four)
"""The vector ``(i, j, k, 0)``."""


def _lane(n: int) -> Any:
    return operation(_element, lambda builder, _, vector: builder.extract_element(vector, INDEX(n)))


lane0, lane1, lane2 = _lane(0), _lane(1), _lane(2)


def _half(first: int) -> Any:
    order = ir.Constant(ir.VectorType(INDEX, 4), list(range(first, first + 4)))
    return operation(
        lambda vector: Lanes(vector.element, 4),
        lambda builder, _, vector: builder.shuffle_vector(vector, vector, order),
    )


lower, upper = _half(0), _half(4)
"""The first and the last four of eight lanes."""


def _floor(builder: Any, out: Any, vector: Any) -> Any:
    name = f"llvm.floor.v{out.count}f{8 * _bytes(out)}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(out, [out]), name)
    return builder.call(function, [vector])


floor = operation(same, _floor)
"""The next whole number below."""


def _smaller(builder: Any, _: Any, vector: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", vector, other), vector, other)


smaller = operation(same, _smaller)
"""The smaller one of two numbers; of one that is none, the other."""


def _clamp(builder: Any, out: Any, vector: Any, least: Any, most: Any) -> Any:
    vector = builder.select(builder.fcmp_ordered(">", vector, least), vector, least)
    return _smaller(builder, out, vector, most)


clamp = operation(same, _clamp)
"""Within two bounds, which are numbers; what is none becomes the lower one. The result is always a number."""


def _between(builder: Any, out: Any, vector: Any, least: Any, most: Any) -> Any:
    above = builder.fcmp_ordered(">", vector, least)
    return builder.uitofp(builder.and_(above, builder.fcmp_ordered("<", vector, most)), out)


between = operation(same, _between)
"""1 between two bounds, 0 on them and beyond."""


def _is_zero(builder: Any, _: Any, vector: Any) -> Any:
    lanes = builder.fcmp_ordered("==", vector, ir.Constant(vector.type, [0.0] * vector.type.count))
    every = ir.Constant(ir.IntType(1), 1)
    for n in range(vector.type.count):
        every = builder.and_(every, builder.extract_element(lanes, INDEX(n)))
    return every


is_zero = operation(lambda _: types.boolean, _is_zero)
"""Whether every lane is 0; one that is no number is not."""


def _row_of(builder: Any, out: Any, place: Any, plane: Any, line: Any) -> Any:
    whole = builder.fptosi(place, ir.VectorType(INDEX, 4))
    i, j, k = (builder.sext(builder.extract_element(whole, INDEX(n)), out) for n in range(3))
    return builder.add(builder.add(builder.mul(i, plane), builder.mul(j, line)), k)


row_of = operation(lambda *_: types.intp, _row_of)
"""``i * plane + j * line + k`` for whole numbers ``(i, j, k, 0)``."""


def spread(builder: Any, vector_type: Any, value: Any) -> Any:
    """The same number in every lane; a vector as it is."""
    if isinstance(value.type, ir.VectorType):
        return value
    if isinstance(value.type, ir.IntType):
        value = builder.sitofp(value, vector_type.element)
    undefined = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(undefined, value, INDEX(0))
    order = ir.Constant(ir.VectorType(INDEX, vector_type.count), [0] * vector_type.count)
    return builder.shuffle_vector(first, undefined, order)


def _arithmetic(instruction: str) -> Callable[..., Any]:
    """Overload of an operator for a vector and a vector or number."""

    def build(builder: Any, out: Any, a: Any, b: Any) -> Any:
        return getattr(builder, instruction)(spread(builder, out, a), spread(builder, out, b))

    combined = operation(same, build)

    def overloaded(a: Any, b: Any) -> Any:
        fits = isinstance(a, Lanes) and (b in {a, a.element} or isinstance(b, types.Integer))
        return (lambda a, b: combined(a, b)) if fits else None  # noqa: PLW0108  # numba compiles the lambda

    return overloaded


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    overload(_symbol, strict=False)(_arithmetic(_instruction))
