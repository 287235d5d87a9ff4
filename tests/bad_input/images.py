"""Images that are wrong in one way each: how to make them, what becomes of them, what has to be told.

Each function takes the path of a sound ``.nii.gz`` image (float32, :data:`SHAPE` voxels) and spoils it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from tests.app import phantom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (19, 21, 18)
GRID = phantom.affine_of(SHAPE, (5.0, 5.2, 5.1), (0, 0, 0), phantom.CENTRE)


@dataclass(frozen=True)
class Case:
    """One way to be wrong.

    Attributes
    ----------
    what
        In words, for the table of outcomes.
    make
        Spoils the sound image at a path.
    code
        Exit code of the pair; 0 where it is registered all the same.
    words
        What the message has to say, or where it is registered the notes of the sidecar.
    """

    what: str
    make: Callable[[Path], object]
    code: int = 65
    words: tuple[str, ...] = ()


def put(path: Path, data: np.ndarray, affine: np.ndarray | None = GRID, **header: Any) -> None:
    """Write another image there; header fields as they are to stand in the file."""
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    if affine is not None:
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
    content = bytearray(image.to_bytes())
    content[:348] = raw_header(bytes(content[:348]), **header)
    path.write_bytes(gzip.compress(bytes(content), 1))


def raw_header(content: bytes, **fields: Any) -> bytes:
    """Change fields of a header without a check; ``dim_1`` is an element of ``dim``."""
    header = np.frombuffer(content, nib.nifti1.header_dtype).copy()
    for name, value in fields.items():
        field, _, place = name.partition("__")
        if place:
            header[field][0, int(place)] = value
        else:
            header[field][0] = value
    return header.tobytes()


def sound(path: Path) -> np.ndarray:
    """Voxels of the sound image."""
    return np.asarray(nib.load(path).dataobj, np.float32)


def changed(**fields: Any) -> Callable[[Path], None]:
    """Change fields of the header."""

    def make(path: Path) -> None:
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(raw_header(content[:348], **fields) + content[348:], 1))

    return make


def of(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Change the voxels."""
    return lambda path: put(path, function(sound(path)))


def some(value: float, share: float) -> Callable[[np.ndarray], np.ndarray]:
    """Give a share of the voxels a value."""

    def make(data: np.ndarray) -> np.ndarray:
        return np.where(np.random.default_rng(0).random(data.shape) < share, np.float32(value), data)

    return make


def bytes_of(function: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Change the bytes of the compressed file."""
    return lambda path: path.write_bytes(function(path.read_bytes()))


def inner(function: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Change the bytes that are compressed."""
    return bytes_of(lambda content: gzip.compress(function(gzip.decompress(content)), 1))


def colours(path: Path) -> None:
    data = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["R"] = sound(path) / 5
    put(path, data)


def swapped(path: Path) -> None:
    """The whole file in the other byte order, as an old workstation would write it."""
    data = sound(path)
    image = nib.Nifti1Image(data, GRID, nib.Nifti1Header(endianness=">"))
    path.write_bytes(gzip.compress(image.to_bytes(), 1))


def half_swapped(path: Path) -> None:
    """The header in one byte order but for its sizes, which are in the other."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[40:56] = np.frombuffer(bytes(content[40:56]), "<i2").byteswap().tobytes()
    path.write_bytes(gzip.compress(bytes(content), 1))


def with_extension(size: int, content: bytes = b"\0" * 24) -> Callable[[Path], object]:
    """A header extension that says it has a size."""

    def make(old: bytes) -> bytes:
        head = raw_header(old[:348], vox_offset=384)
        extension = np.array([size, 6], "<i4").tobytes() + content
        return head + b"\x01\0\0\0" + extension + old[352:]

    return inner(make)


def sheared(path: Path) -> None:
    affine = GRID.copy()
    affine[0, 1] += 2
    put(path, sound(path), None, sform_code=1, qform_code=0, pixdim__1=5.0, pixdim__2=5.2, pixdim__3=5.1)
    changed(srow_x=affine[0], srow_y=affine[1], srow_z=affine[2], vox_offset=352)(path)


def lone_sform(matrix: np.ndarray) -> Callable[[Path], None]:
    return changed(qform_code=0, sform_code=1, srow_x=matrix[0], srow_y=matrix[1], srow_z=matrix[2])


def conflict(path: Path) -> None:
    """The sform says aligned, 12 mm away from where the qform has it."""
    changed(sform_code=2, srow_x=GRID[0] + [0, 0, 0, 12])(path)


def no_codes(path: Path) -> None:
    changed(qform_code=0, sform_code=0)(path)


def link(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


def loop(path: Path) -> None:
    link(path.name)(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def outside(path: Path) -> None:
    """A link to a sound image beside the data set."""
    other = path.parents[3] / f"elsewhere-{path.name}"
    path.rename(other)
    path.symlink_to(other)


def bomb(path: Path) -> None:
    """A few hundred kilobytes that become a gigabyte: the header declares little, and it goes on."""
    content = gzip.decompress(path.read_bytes())
    packed = gzip.GzipFile(path, "wb", compresslevel=9, mtime=0)
    with packed as file:
        file.write(content)
        for _ in range(80):
            file.write(bytes(2**20))


NAN_AFFINE = np.diag([np.nan, 5, 5, 1])

IMAGES: dict[str, Case] = {
    # intensities
    "somenan": Case("3 % of the voxels NaN", of(some(np.nan, 0.03)), 0, ("were NaN or infinite",)),
    "someinf": Case("3 % of the voxels infinite", of(some(np.inf, 0.03)), 0, ("were NaN or infinite",)),
    "allnan": Case("all voxels NaN", of(some(np.nan, 2)), 65, ("NaN or infinite", "Check the file")),
    "allinf": Case("all voxels infinite", of(some(-np.inf, 2)), 65, ("NaN or infinite",)),
    "constant": Case("all voxels the same", of(some(7, 2)), 65, ("every voxel has the value 7",)),
    "zero": Case("all voxels zero", of(some(0, 2)), 65, ("every voxel has the value 0",)),
    "negative": Case("all voxels negative", of(lambda data: data - 5000), 0),
    # kinds of voxels
    "onevolume": Case("4-D with one volume", of(lambda data: data[..., None]), 0, ("single volume",)),
    "volumes": Case(
        "4-D with three volumes", of(lambda data: np.stack([data] * 3, -1)), 65, ("holds 3 volumes",)
    ),
    "rgb": Case("RGB voxels", colours, 65, ("RGB", "one real number each")),
    "complex": Case("complex voxels", of(lambda data: data.astype("c8")), 65, ("complex",)),
    "int64": Case("int64 voxels", of(lambda data: data.astype("i8")), 0),
    "float128": Case("float128 voxels", changed(datatype=1536, bitpix=128), 65, ("float128",)),
    "binary": Case(
        "voxels of one bit", changed(datatype=1, bitpix=1), 65, ("NIfTI type 1 (binary)", "Convert")
    ),
    "unknowntype": Case("a type of voxels that does not exist", changed(datatype=77), 65, ("NIfTI type 77",)),
    "slopezero": Case("scl_slope 0, which means no scaling", changed(scl_slope=0), 0),
    "slopenan": Case("scl_slope NaN, which means no scaling", changed(scl_slope=np.nan), 0),
    "slopenegative": Case("scl_slope negative: an inverted image", changed(scl_slope=-1, scl_inter=0), 0),
    "slopehuge": Case(
        "scl_slope 1e38: beyond float32", changed(scl_slope=1e38, scl_inter=0), 65, ("NaN or infinite",)
    ),
    "internan": Case("scl_inter NaN", changed(scl_slope=1, scl_inter=np.nan), 65, ("intercept",)),
    # where the voxels are
    "sheared": Case("sheared sform without a qform", sheared, 65, ("sheared", "right angles")),
    "zeroaffine": Case("sform all zero", lone_sform(np.zeros((3, 4))), 65, ("not an invertible matrix",)),
    "singular": Case(
        "singular sform", lone_sform(np.diag([5.0, 0, 5, 1])), 65, ("not an invertible matrix",)
    ),
    "nanaffine": Case("NaN in the sform", lone_sform(NAN_AFFINE), 65, ("not an invertible matrix",)),
    "conflict": Case("sform and qform 12 mm apart", conflict, 0, ("12.0 mm apart",)),
    "nocodes": Case("both form codes 0", no_codes, 0, ("Left and right may be swapped",)),
    "metres": Case(
        "millimetres that the header calls metres", changed(xyzt_units=1), 65, ("voxel size", "meter")
    ),
    "microns": Case(
        "millimetres that the header calls microns", changed(xyzt_units=3), 65, ("whole image", "micron")
    ),
    "badunit": Case("a code of units that does not exist", changed(xyzt_units=199), 0),
    "badquaternion": Case(
        "quaternion longer than one", changed(quatern_b=0.9, quatern_c=0.9), 65, ("qform cannot be read",)
    ),
    "nanpixdim": Case("voxel size NaN", changed(pixdim__1=np.nan), 65, ("voxel sizes",)),
    "zeropixdim": Case("voxel size 0", changed(pixdim__2=0), 0, ("voxel size",)),
    # sizes
    "line": Case("one voxel along two axes", of(lambda data: data[:, :1, :1]), 65, ("at least 4 along",)),
    "slab": Case("a slab of one slice", of(lambda data: data[:, :, :1]), 65, ("at least 4 along",)),
    "thin": Case("a slab of three slices", of(lambda data: data[:, :, 8:11]), 65, ("at least 4 along",)),
    "flat": Case("two axes only", of(lambda data: data[:, :, 9]), 65, ("three axes",)),
    "huge": Case(
        "declares 30000 x 30000 x 30000", changed(dim__1=30000, dim__2=30000, dim__3=30000), 65, ("declares",)
    ),
    "toolong": Case("declares twice the voxels there are", changed(dim__3=36), 65, ("damaged or cut short",)),
    "tooshort": Case(
        "declares half the voxels there are", changed(dim__3=9), 0, ("bytes follow the voxels",)
    ),
    "negativedim": Case("a negative size", changed(dim__2=-21), 65, ("-21",)),
    "zerodim": Case("a size of zero", changed(dim__2=0), 65, ("not a readable NIfTI",)),
    "noaxes": Case("no axes", changed(dim__0=0), 65, ("not a readable NIfTI",)),
    # the file
    "magic": Case("wrong magic", changed(magic=b"xyz"), 65, ("magic",)),
    "pairmagic": Case("the header of a .hdr/.img pair", changed(magic=b"ni1"), 65, ("magic",)),
    "offsetzero": Case("voxels that begin at byte 0", changed(vox_offset=0), 65, ("start at byte 0",)),
    "offsetnan": Case(
        "voxels that begin at byte NaN", changed(vox_offset=np.nan), 65, ("start at byte nan",)
    ),
    "offsethuge": Case(
        "voxels that begin at byte 1e30", changed(vox_offset=1e30), 65, ("start at byte 1e+30",)
    ),
    "bigendian": Case("the other byte order", swapped, 0),
    "halfswapped": Case("sizes in another byte order than the rest", half_swapped, 65, ("NIfTI type 4096",)),
    "extension": Case("an extension whose size is wrong", with_extension(2**30), 0),
    "extensionzero": Case("an extension of size zero", with_extension(0), 0),
    "garbage": Case(
        "garbage after the voxels", inner(lambda content: content + b"x" * 999), 0, ("999 bytes follow",)
    ),
    "gzipgarbage": Case(
        "garbage after the gzip data", bytes_of(lambda content: content + b"x" * 9), 65, ("damaged",)
    ),
    "bomb": Case("80 MiB of zeros after the voxels in a small file", bomb, 65, ("follow the voxels",)),
    "cut": Case(
        "cut in half", bytes_of(lambda content: content[: len(content) // 2]), 65, ("damaged or cut short",)
    ),
    "cutheader": Case("cut within the header", inner(lambda content: content[:200]), 65, ("ends after 200",)),
    "flipped": Case(
        "one bit flipped",
        bytes_of(lambda content: content[:4000] + bytes([content[4000] ^ 4]) + content[4001:]),
        65,
        ("damaged",),
    ),
    "plain": Case(
        "named .gz and not compressed", bytes_of(gzip.decompress), 65, ("not compressed", "Rename")
    ),
    "twice": Case("compressed twice", bytes_of(gzip.compress), 65, ("a compressed file",)),
    "empty": Case("an empty file", bytes_of(lambda _: b""), 65, ("empty (0 bytes)",)),
    "page": Case(
        "a web page", bytes_of(lambda _: b"<!DOCTYPE html><title>Sign in</title>"), 65, ("a web page",)
    ),
    "text": Case(
        "text, compressed", bytes_of(lambda _: gzip.compress(b"hello " * 99)), 65, ("expected NIfTI",)
    ),
    "dicom": Case("a DICOM file", inner(lambda _: bytes(128) + b"DICM" + bytes(900)), 65, ("DICOM",)),
    # elsewhere
    "annexlink": Case(
        "a git-annex link without content",
        link("../../.git/annex/objects/Xx/0k/MD5E-s9--a.nii.gz/MD5E-s9--a.nii.gz"),
        66,
        ("git-annex",),
    ),
    "annexpointer": Case(
        "a git-annex pointer (unlocked)",
        bytes_of(lambda _: b"/annex/objects/MD5E-s9--a.nii.gz\n"),
        66,
        ("git annex get",),
    ),
    "lfspointer": Case(
        "a Git LFS pointer",
        bytes_of(lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        66,
        ("git lfs pull",),
    ),
    "loop": Case("a link to itself", loop, 66, ("link",)),
    "folder": Case("a folder with the name of an image", folder, 66, ("a folder, expected a file",)),
    "outside": Case("a link to a sound image outside", outside, 0),
}
