"""HDF5 files that are odd on purpose: by their structure, and by their bytes where the library looks first.

Half of the cases are transforms in which one thing is not as ITK writes it: a declared size, a filter, a
type, a link. The others are changed where HDF5 keeps its structure: the superblock, headers of objects, trees
and heaps, which begin with four letters each, and numbers of eight bytes, which are sizes and addresses.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from fuzz.mutate import mutated
from fuzz.seeds import composites

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SHAPE = (4, 5, 6)
COUNT = 3 * 4 * 5 * 6
GRID = [*map(float, SHAPE), 0, 0, 0, 2, 2, 2, 1, 0, 0, 0, 1, 0, 0, 0, 1]
SIGNATURES = re.compile(
    rb"\x89HDF|TREE|SNOD|HEAP|OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|GCOL|FADB|FAHD|EAHD|SMTB"
)
REACH = 96
"""Bytes after a signature that say what is there."""
NUMBERS = (0, 1, 2, 3, 7, 2**16 - 1, 2**31 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
"""Sizes and addresses that a reader may trip over; the last one is HDF5's for none."""
SIZES = (0, 1, COUNT - 1, COUNT + 1, 10**6, 2**31, 2**40, 2**62)
VERSIONS = (("earliest", "latest"), ("v108", "latest"), ("latest", "latest"))


def odd(content: bytes, rng: random.Random) -> bytes:
    """Change a sound file, or make a transform in which something is odd; then perhaps change that."""
    if rng.random() < 0.5:
        content = _made(rng)
        if rng.random() < 0.5:
            return content
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice((_near_signature, _near_signature, _number, mutated))(content, rng)
    return content


@cache
def sound() -> list[bytes]:
    """Transforms as this program writes them, and in all the ways in which HDF5 keeps an array."""
    files = [*composites()]
    ways: tuple[dict[str, Any], ...] = ({}, {"compression": "gzip"}, {"chunks": (90,), "shuffle": True})
    for version in VERSIONS:
        files += [_file(version, lambda group, way=way: _field(group, way)) for way in ways]
    files.append(_file(VERSIONS[0], lambda group: _field(group, {}, dtype="f8", prefix="Tranform")))
    return files


def _near_signature(content: bytes, rng: random.Random) -> bytes:
    """Change a byte in what follows one of HDF5's marks."""
    marks = [match.start() for match in SIGNATURES.finditer(content)]
    if not marks:
        return mutated(content, rng)
    at = min(rng.choice(marks) + rng.randrange(REACH), len(content) - 1)
    value = rng.choice((0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFF, content[at] ^ 1 << rng.randrange(8)))
    return content[:at] + bytes([value]) + content[at + 1 :]


def _number(content: bytes, rng: random.Random) -> bytes:
    """Put another number where one of 8 bytes may be: most stand at a multiple of 8."""
    if len(content) < 16:
        return content
    at = 8 * rng.randrange(min(len(content), 4096) // 8 - 1)
    own = struct.unpack_from("<Q", content, at)[0]
    value = rng.choice((*NUMBERS, len(content), own ^ 1 << rng.randrange(64), (own + 8) % 2**64))
    return content[:at] + struct.pack("<Q", value) + content[at + 8 :]


def _file(version: tuple[str, str], fill: Callable[[Any], None]) -> bytes:
    """Bytes of a composite transform whose only part is filled by a function."""
    with h5py.File("x", "w", driver="core", backing_store=False, libver=version) as file:
        _kind(file.create_group("TransformGroup/0"), "CompositeTransform_double_3_3")
        fill(file.create_group("TransformGroup/1"))
        file.flush()
        return bytes(file.id.get_file_image())


def _made(rng: random.Random) -> bytes:
    """A transform with something odd in it that h5py agrees to write."""
    while True:
        oddity = rng.choice(ODDITIES)
        with suppress(ValueError, TypeError, OSError):
            return _file(rng.choice(VERSIONS), lambda group, oddity=oddity: oddity(group, rng))


def _kind(group: Any, name: str) -> None:
    group.create_dataset("TransformType", data=np.array([name], object), dtype=h5py.string_dtype("ascii"))


def _field(
    group: Any, options: dict[str, Any], dtype: str = "f4", prefix: str = "Transform", size: int = COUNT
) -> None:
    _kind(group, "DisplacementFieldTransform_float_3_3")
    group[f"{prefix}FixedParameters"] = np.array(GRID)
    values = np.linspace(-3, 3, COUNT, dtype=dtype)
    if size == COUNT:
        group.create_dataset(f"{prefix}Parameters", data=values, **options)
    else:
        group.create_dataset(f"{prefix}Parameters", shape=(size,), dtype=dtype, **options)


def _other(group: Any, name: str, **options: Any) -> None:
    """Another array in place of one of a field."""
    _field(group, {})
    del group[name]
    group.create_dataset(name, **options)


def _name(rng: random.Random) -> str:
    return rng.choice(("TransformType", "TransformFixedParameters", "TransformParameters"))


def _declared(group: Any, rng: random.Random) -> None:
    """A row of any length of which little or nothing is stored."""
    size = rng.choice(SIZES)
    options = {} if size == 0 or rng.random() < 0.5 else {"chunks": (rng.choice((1, 90, 2**20, 2**24)),)}
    _other(group, _name(rng), shape=(size,), dtype=rng.choice(("f4", "f8", "S8")), **options)


def _huge_pieces(group: Any, rng: random.Random) -> None:
    """Pieces of nearly 4 GiB, as many as HDF5 allows, packed or not; one may be there."""
    packing = rng.choice(({}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}))
    piece = rng.choice((2**20 + 1, 2**24, 2**29, 2**30 - 1))
    _field(group, {"chunks": (piece,), "maxshape": (None,), **packing}, size=rng.choice(SIZES[1:]))


def _bomb(group: Any, rng: random.Random) -> None:
    """Zeros that take a thousandth of their place in the file."""
    size = rng.choice((10**5, 10**6))
    _field(group, {"chunks": (size,), "compression": "gzip", "compression_opts": 9}, size=size)
    group["TransformParameters"][:] = 0
    sides = rng.choice(((100, 100, size // 30_000), (size // 3, 1, 1), (1, 1, 2 * size)))
    group["TransformFixedParameters"][:3] = sides


def _type(group: Any, rng: random.Random) -> None:
    """Numbers of another type, or no numbers."""
    types = ("i1", "u8", "f2", ">f4", "f16", "c8", "S3", "?", "i4,f4", "(3,)f4", h5py.ref_dtype)
    kind = rng.choice((*types, h5py.vlen_dtype("f4"), h5py.opaque_dtype("M8[s]"), h5py.enum_dtype({"a": 1})))
    _other(group, _name(rng), shape=(rng.choice((1, COUNT)),), dtype=kind)


def _shape(group: Any, rng: random.Random) -> None:
    """An array with more axes or none, or a group, in place of a row."""
    name = _name(rng)
    if rng.random() < 0.2:
        _field(group, {})
        del group[name]
        group.create_group(name)
    elif rng.random() < 0.3:
        _field(group, {})
        del group[name]
        group[name] = h5py.Empty("f4")
    else:
        _other(group, name, shape=rng.choice(((), (COUNT, 1), (1,) * 32, (0,))), dtype="f4")


def _filters(group: Any, rng: random.Random) -> None:
    """Numbers that went through filters which this program does not use."""
    options: tuple[dict[str, Any], ...] = (
        {"scaleoffset": 3},
        {"compression": "lzf"},
        {"fletcher32": True, "shuffle": True, "compression": "gzip"},
        {"compression": "szip"} if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP) else {"fletcher32": True},
    )
    _field(group, {"chunks": (rng.choice((1, 7, COUNT)),), **rng.choice(options)})


def _links(group: Any, rng: random.Random) -> None:
    """Links to other places, to other files, to the group around, to nothing."""
    name = _name(rng)
    _field(group, {})
    del group[name]
    other = rng.choice(
        ("/TransformGroup/0/TransformType", "/TransformGroup", "/nowhere", f"/TransformGroup/1/{name}")
    )
    if rng.random() < 0.3:
        group[name] = group.parent
    else:
        group[name] = rng.choice((h5py.SoftLink(other), h5py.ExternalLink("x.h5", other)))


def _groups(group: Any, rng: random.Random) -> None:
    """Many transforms, or names that are no numbers."""
    _field(group, {})
    names = rng.choice((("x",), ("-1",), ("1e3",), ("٣",), ("9" * 5000,), tuple(map(str, range(2, 1100)))))
    for name in names:
        group.parent[name] = group


def _text(group: Any, rng: random.Random) -> None:
    """Names of classes that are long, many, empty or no text."""
    _field(group, {})
    del group["TransformType"]
    texts = rng.choice(
        (["A" * 10**5], [""], ["AffineTransform_double_3_3"] * 9, ["é" * 150], ["Composite\x01"])
    )
    group.create_dataset("TransformType", data=np.array(texts, object), dtype=h5py.string_dtype())


def _numbers(group: Any, rng: random.Random) -> None:
    """A grid that cannot be."""
    _field(group, {})
    value = rng.choice((0, -1, 0.5, 1e18, 1e308, np.nan, np.inf, -np.inf))
    group["TransformFixedParameters"][rng.randrange(len(GRID))] = value


ODDITIES: tuple[Callable[[Any, random.Random], None], ...] = (
    *(_declared, _huge_pieces, _bomb, _type, _shape),
    *(_filters, _links, _groups, _text, _numbers),
)
