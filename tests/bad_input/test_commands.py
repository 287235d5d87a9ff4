"""What ``apply`` and ``evaluate`` are given and cannot use: one line, the right code, nothing written."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from bids_nodereg.cli import main
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5, write_displacement_nifti
from tests.app import phantom
from tests.bad_input.images import GRID, IMAGES, SHAPE, changed
from tests.bad_input.study import told_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Case:
    """What is wrong with a file of a folder of sound ones, which words name it, and what is told."""

    what: str
    name: str
    make: Callable[[Path], object]
    words: str
    code: int
    told: tuple[str, ...]


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def field_of(value: float) -> Callable[[Path], None]:
    """A displacement field with a value in one place."""

    def make(path: Path) -> None:
        vectors = np.zeros((*SHAPE, 3), np.float32)
        vectors[3, 3, 3] = value
        write_displacement_nifti(path, DisplacementField(Grid(SHAPE, GRID), vectors))

    return make


def in_h5(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def much_promised(file: h5py.File) -> None:
    """A field of 10^15 numbers, none of them stored."""
    sizes = file["TransformGroup/2/TransformFixedParameters"]
    sizes[:3] = 7e4
    del file["TransformGroup/2/TransformParameters"]
    many = int(3 * 7e4**3)
    file.create_dataset("TransformGroup/2/TransformParameters", (many,), "f4", chunks=(2**16,))


def elsewhere(file: h5py.File) -> None:
    del file["TransformGroup/2/TransformParameters"]
    file["TransformGroup/2/TransformParameters"] = h5py.ExternalLink("other.h5", "/secret")


def endless(path: Path) -> None:
    """A file for which the HDF5 library has been seen to loop: the heap of its strings leads nowhere."""
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL")
    content[place + 16 :] = bytes(len(content) - place - 16)
    path.write_bytes(content)


def spoiled(name: str) -> Callable[[Path], object]:
    return IMAGES[name].make


APPLY = "--reference T1w.nii.gz --image T2w.nii.gz --out o.nii.gz --transform"
IMAGE = "--reference T1w.nii.gz --transform a.txt --out o.nii.gz --image"
LABELS = "--reference T1w.nii.gz --transform a.txt --out o.nii.gz --labels"
POINTS = "--transform a.txt --out o.tsv --points"

CASES: dict[str, Case] = {
    "h5cut": Case("a transform .h5 cut in half", "m.h5", cut, APPLY, 65, ("m.h5", "ITK transform")),
    "h5noise": Case(
        "a transform .h5 that is none", "m.h5", text(b"\x89HDF" * 99), APPLY, 65, ("ITK transform",)
    ),
    "h5empty": Case("an empty transform .h5", "m.h5", text(b""), APPLY, 65, ("ITK transform",)),
    "h5many": Case(
        "an .h5 that promises 10^15 numbers", "m.h5", in_h5(much_promised), APPLY, 65, ("at most",)
    ),
    "h5elsewhere": Case(
        "an .h5 with a link to another file", "m.h5", in_h5(elsewhere), APPLY, 65, ("link to another",)
    ),
    "h5groups": Case(
        "an .h5 without transforms",
        "m.h5",
        in_h5(lambda file: file.pop("TransformGroup")),
        APPLY,
        65,
        ("TransformGroup",),
    ),
    "h5endless": Case("an .h5 whose strings lead nowhere", "m.h5", endless, APPLY, 65, ("ITK transform",)),
    "txtnoise": Case(
        "a transform .txt that is none", "a.txt", text("Hello"), APPLY, 65, ("a.txt", "ITK text")
    ),
    "txtbinary": Case(
        "a transform .txt of bytes", "a.txt", text(bytes(range(256))), APPLY, 65, ("ITK text",)
    ),
    "txtnan": Case(
        "an affine with NaN",
        "a.txt",
        lambda path: text(path.read_text().replace("1.0", "nan"))(path),
        APPLY,
        65,
        ("no inverse",),
    ),
    "matnoise": Case(
        "a transform .mat that is none", "a.mat", text(b"\x00" * 40), APPLY, 65, ("a.mat", "expected one of")
    ),
    "mathuge": Case(
        "a .mat that promises much",
        "a.mat",
        text(np.array([0, 2**30, 2, 0, 6], "<i4").tobytes() + b"fixed\0"),
        APPLY,
        65,
        ("cut short",),
    ),
    "fieldnan": Case(
        "a displacement field with NaN",
        "w.nii.gz",
        field_of(np.nan),
        APPLY,
        65,
        ("w.nii.gz", "NaN or infinite"),
    ),
    "fieldcut": Case(
        "a displacement field cut in half", "w.nii.gz", cut, APPLY, 65, ("damaged or cut short",)
    ),
    "fieldhuge": Case(
        "a displacement field that declares 30000^3",
        "w.nii.gz",
        changed(dim__1=30000, dim__2=30000, dim__3=30000),
        APPLY,
        65,
        ("declares",),
    ),
    "image": Case(
        "an image cut in half, carried", "T2w.nii.gz", cut, IMAGE, 65, ("T2w.nii.gz", "damaged or cut short")
    ),
    "pointer": Case(
        "an image not fetched, carried", "T2w.nii.gz", spoiled("annexpointer"), IMAGE, 66, ("git annex get",)
    ),
    "gone": Case(
        "an image that is not there, carried",
        "T2w.nii.gz",
        lambda path: path.unlink(),
        IMAGE,
        66,
        ("no such file",),
    ),
    "pipe": Case(
        "a named pipe for an image",
        "T2w.nii.gz",
        lambda path: (path.unlink(), os.mkfifo(path)),
        IMAGE,
        66,
        ("no regular file",),
    ),
    "rgb": Case("an RGB image, carried", "T2w.nii.gz", spoiled("rgb"), IMAGE, 65, ("RGB",)),
    "labels": Case(
        "labels that are not whole, carried", "T2w.nii.gz", lambda path: None, LABELS, 65, ("whole numbers",)
    ),
    "reference": Case(
        "a sheared reference",
        "T1w.nii.gz",
        spoiled("sheared"),
        "--transform a.txt --image T2w.nii.gz --out o.nii.gz --reference",
        65,
        ("sheared",),
    ),
    "pointstext": Case(
        "landmarks that are no numbers",
        "p.tsv",
        text("x\ty\tz\na\tb\tc\n"),
        POINTS,
        65,
        ("p.tsv", "line 2", "three numbers"),
    ),
    "pointscolumn": Case(
        "landmarks without a column", "p.tsv", text("x\ty\n1\t2\n"), POINTS, 65, ("columns", "x, y, z")
    ),
    "pointslatin": Case(
        "landmarks in Latin-1", "p.tsv", text("x\ty\tz\té\n".encode("latin-1")), POINTS, 65, ("UTF-8",)
    ),
    "pointsnone": Case("landmarks without a row", "p.tsv", text("x\ty\tz\n"), POINTS, 65, ("no landmark",)),
    "table": Case(
        "a table of unknown columns", "t.tsv", text("input\tfoo\na\tb\n"), "--table", 65, ("t.tsv", "columns")
    ),
    "tablecut": Case("a table of bytes", "t.tsv", text(b"\xff\xfe\0"), "--table", 65, ("UTF-8",)),
}

SCORE = "--fixed T1w.nii.gz --out r.tsv --transform"
LANDMARKS = "--fixed T1w.nii.gz --transform a.txt --out r.tsv --moving-points q.tsv --fixed-points"
DICE = "--fixed T1w.nii.gz --transform a.txt --out r.tsv --moving-dseg d.nii.gz --fixed-dseg"

SCORED: dict[str, Case] = {
    "h5": Case("a transform .h5 cut in half, scored", "m.h5", cut, SCORE, 65, ("m.h5", "ITK transform")),
    "txt": Case("a transform .txt that is none, scored", "a.txt", text("Hello"), SCORE, 65, ("ITK text",)),
    "mat": Case("a transform .mat that is none, scored", "a.mat", text(b"x" * 99), SCORE, 65, ("ITK .mat",)),
    "field": Case(
        "a displacement field with infinity, scored", "w.nii.gz", field_of(np.inf), SCORE, 65, ("infinite",)
    ),
    "gone": Case(
        "a transform that is not there, scored", "a.txt", lambda path: path.unlink(), SCORE, 66, ("no such",)
    ),
    "fixed": Case(
        "a fixed image that is text",
        "T1w.nii.gz",
        text(gzip.compress(b"x" * 999)),
        "--transform a.txt --out r.tsv --fixed",
        65,
        ("T1w.nii.gz", "expected NIfTI"),
    ),
    "fixedempty": Case(
        "an empty fixed image",
        "T1w.nii.gz",
        text(b""),
        "--transform a.txt --out r.tsv --fixed",
        65,
        ("0 bytes",),
    ),
    "dseg": Case("labels cut in half, scored", "e.nii.gz", cut, DICE, 65, ("e.nii.gz", "damaged")),
    "dsegfloat": Case(
        "labels that are not whole, scored", "T1w.nii.gz", lambda path: None, DICE, 65, ("whole numbers",)
    ),
    "names": Case(
        "landmarks of other names",
        "p.tsv",
        text("name\tx\ty\tz\nother\t1\t2\t3\n"),
        LANDMARKS,
        65,
        ("in one of them only",),
    ),
    "numbers": Case(
        "landmarks with infinity", "p.tsv", text("name\tx\ty\tz\na\tinf\t2\t3\n"), LANDMARKS, 65, ("line 2",)
    ),
    "repeated": Case(
        "a landmark there twice",
        "p.tsv",
        text("name\tx\ty\tz\na\t1\t2\t3\na\t1\t2\t3\n"),
        LANDMARKS,
        65,
        ("different",),
    ),
    "table": Case(
        "a table without rows, scored",
        "t.tsv",
        text("fixed\ttransform\n"),
        "--out r.tsv --table",
        65,
        ("no rows",),
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    shares = phantom.soft_labels(phantom.points_of(SHAPE, GRID))
    for suffix, contrast in (("T1w", phantom.T1W), ("T2w", phantom.T2W)):
        phantom.save(tmp_path / f"{suffix}.nii.gz", phantom.image_of(shares, contrast, 1).astype("f4"), GRID)
    for name in "de":
        phantom.save(tmp_path / f"{name}.nii.gz", phantom.labels_of(shares).astype("i2"), GRID)
    field_of(0)(tmp_path / "w.nii.gz")
    field = DisplacementField(Grid(SHAPE, GRID), np.zeros((*SHAPE, 3), np.float32))
    write_composite_h5(tmp_path / "m.h5", SpatialMap(np.eye(4), field))
    write_affine_txt(tmp_path / "a.txt", np.eye(4))
    (tmp_path / "q.tsv").write_text("name\tx\ty\tz\na\t1\t2\t3\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "name"), [*(("apply", name) for name in CASES), *(("evaluate", name) for name in SCORED)]
)
def test_what_cannot_be_used_is_one_line_with_its_code(folder, capsys, command, name, outcome):
    case = (CASES if command == "apply" else SCORED)[name]
    case.make(folder / case.name)
    before = sorted(folder.iterdir())
    code = main([command, *case.words.split(), case.name])
    error = capsys.readouterr().err
    assert (code, len(error.splitlines())) == (case.code, 1), error
    assert told_once(error, *case.told)
    assert sorted(folder.iterdir()) == before
    outcome("bad input", f"{command}: {case.what}", "refused, told; nothing written", case.code)
