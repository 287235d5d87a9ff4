"""Masks, labels and lesions that do not fit their image, and what may not be read."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.app import phantom
from tests.bad_input.images import GRID, IMAGES, SHAPE
from tests.bad_input.study import Study, make_study, told_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINUX_CAPABILITY_VERSION_3 = 0x20080522
READ_EVERYTHING = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
FAR = GRID + np.pad(np.full((3, 1), 5000.0), ((0, 1), (3, 0)))
BRAIN = phantom.soft_labels(phantom.points_of(SHAPE, GRID))[..., 0] < 0.5
LABELS = phantom.labels_of(phantom.soft_labels(phantom.points_of(SHAPE, GRID)))


@dataclass(frozen=True)
class Case:
    """What is wrong with the file in a column of the pairs file."""

    what: str
    column: str
    make: Callable[[Path], object]
    code: int = 65
    words: tuple[str, ...] = ()


def of(data: np.ndarray, affine: np.ndarray = GRID) -> Callable[[Path], object]:
    return lambda path: phantom.save(path, data, affine)


def spoiled(name: str) -> Callable[[Path], object]:
    """A sound file, spoiled as an image is."""

    def make(path: Path) -> None:
        phantom.save(path, BRAIN.astype(np.float32), GRID)
        IMAGES[name].make(path)

    return make


CASES: dict[str, Case] = {
    "maskempty": Case(
        "an empty brain mask", "moving_mask", of(np.zeros(SHAPE, "u1")), 65, ("no voxel inside",)
    ),
    "maskfar": Case(
        "a brain mask five metres away", "moving_mask", of(BRAIN.astype("u1"), FAR), 65, ("belong together",)
    ),
    "masknan": Case(
        "a brain mask of NaN", "moving_mask", of(np.full(SHAPE, np.nan, "f4")), 65, ("no voxel inside",)
    ),
    "maskcut": Case("a brain mask cut in half", "fixed_mask", spoiled("cut"), 65, ("damaged or cut short",)),
    "maskpointer": Case(
        "a brain mask not fetched", "fixed_mask", spoiled("annexpointer"), 66, ("git annex get",)
    ),
    "maskvolumes": Case(
        "a brain mask of three volumes", "fixed_mask", spoiled("volumes"), 65, ("holds 3 volumes",)
    ),
    "masktiny": Case(
        "a brain mask of one voxel",
        "moving_mask",
        of(np.eye(1, BRAIN.size, 3500, "u1").reshape(SHAPE)),
        65,
        (),
    ),
    "dsegfraction": Case(
        "labels that are not whole", "moving_dseg", of(LABELS + np.float32(0.5)), 65, ("whole numbers",)
    ),
    "dsegcut": Case("labels cut in half", "moving_dseg", spoiled("cut"), 65, ("damaged or cut short",)),
    "dsegpointer": Case("labels not fetched", "moving_dseg", spoiled("annexpointer"), 66, ("git annex get",)),
    "lesionfar": Case(
        "a lesion mask five metres away",
        "moving_lesion",
        of(BRAIN.astype("u1"), FAR),
        65,
        ("belong together",),
    ),
    "lesionall": Case("a lesion mask over everything", "moving_lesion", of(np.ones(SHAPE, "u1")), 65, ()),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Study, int, dict[str, dict[str, object]]]:
    study = make_study(tmp_path_factory.mktemp("bad"), *CASES, "zgood")
    rows = []
    for name, case in CASES.items():
        case.make(study.raw / f"sub-{name}" / "anat" / f"sub-{name}_{case.column.replace('_', '')}.nii.gz")
    columns = sorted({case.column for case in CASES.values()})
    for name in (*CASES, "zgood"):
        own = CASES[name].column if name in CASES else ""
        cells = [study.image(name, suffix).relative_to(study.raw).as_posix() for suffix in ("T1w", "T2w")]
        stem = f"sub-{name}/anat/sub-{name}"
        cells += [f"{stem}_{own.replace('_', '')}.nii.gz" if column == own else "n/a" for column in columns]
        rows.append("\t".join(cells))
    (study.root / "pairs.tsv").write_text("\n".join(["\t".join(("fixed", "moving", *columns)), *rows]) + "\n")
    code = study.run("--pairs-file", str(study.root / "pairs.tsv"), "-q")
    return study, code, study.statuses()


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_does_not_fit_its_image_costs_its_pair_alone(run, name, outcome):
    _, code, statuses = run
    status, case = statuses[name], CASES[name]
    assert (status["status"], status["exit_code"], code) == ("failed", case.code, 1), status["error"]
    file = f"sub-{name}_{case.column.replace('_', '')}.nii.gz"
    message = str(status["error"])
    assert told_once(message, *case.words)
    assert file in message or run[0].image(name).name in message
    assert statuses["zgood"]["status"] == "done"
    outcome("bad input", case.what, "pair failed, told; others done", case.code)


class _Capabilities(ctypes.Structure):
    """Linux' ``cap_user_data_t``."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@contextmanager
def modest() -> Iterator[None]:
    """Give up root's right to read everything for a while; others do not have it."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0), (_Capabilities * 2)()
    assert libc.capget(header, data) == 0
    had = data[0].effective
    data[0].effective = had & ~READ_EVERYTHING
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0].effective = had
        libc.capset(header, data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root's rights are given up as Linux has it")
@pytest.mark.parametrize(
    ("what", "path", "code", "words"),
    [
        (
            "an image that may not be read",
            "sub-01/anat/sub-01_T2w.nii.gz",
            66,
            ("T2w.nii.gz", "cannot be read"),
        ),
        ("a folder that may not be listed", "sub-01/anat", 66, ("anat", "cannot be listed")),
        ("a description that may not be read", "dataset_description.json", 16, ("Permission denied",)),
    ],
)
def test_what_may_not_be_read_is_told(tmp_path, capsys, what, path, code, words, outcome):
    study = make_study(tmp_path, "01")
    (study.raw / path).chmod(0)
    try:
        with modest():
            assert study.run() == code
    finally:
        (study.raw / path).chmod(0o755)
    assert told_once(capsys.readouterr().err, *words)
    outcome("bad input", what, "told", code)
