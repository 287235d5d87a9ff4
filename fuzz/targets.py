"""What is fuzzed: bytes become a file, the file is read as the program reads it.

A reader may give what it has read or raise a :class:`~bids_nodereg.errors.NodeRegError`. Anything else that
comes out of a target is a finding: another exception, a crash, memory or time without bound.
"""

from __future__ import annotations

import json
import zlib
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load

from bids_nodereg.bids.dataset import Dataset, read_description
from bids_nodereg.bids.extras import Extra
from bids_nodereg.bids.filters import read_filters
from bids_nodereg.bids.names import parse_name
from bids_nodereg.bids.pairs_file import read_pairs_file
from bids_nodereg.bids.scans import read_timeline
from bids_nodereg.config import PRESETS, check_settings, read_settings
from bids_nodereg.errors import NodeRegError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.chain_files import read_chain
from bids_nodereg.imaging.points import read_points
from bids_nodereg.imaging.series import open_series
from bids_nodereg.imaging.volume import read_image, read_labels, read_mask
from bids_nodereg.tables import read_tasks
from fuzz import seeds
from fuzz.h5_files import odd, sound
from fuzz.h5_server import forked_reader
from fuzz.mutate import mutated

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One thing to fuzz.

    Attributes
    ----------
    run
        Writes the bytes into the folder and reads them.
    seeds
        Sound inputs, as ``run`` takes them.
    modules
        What is instrumented besides the package.
    guided
        Whether coverage can be seen; where another process reads the file it cannot.
    mutate
        Changes a file at random where coverage does not guide.
    around
        Entered before the first case and left after the last; gives how often cases ended in which way, as
        far as that is known.
    """

    run: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...] = ()
    guided: bool = True
    mutate: Callable[[bytes, random.Random], bytes] = mutated
    around: Callable[[], AbstractContextManager[Mapping[str, int]]] = lambda: nullcontext({})


def image(content: bytes, folder: Path) -> None:
    """The first byte says how the rest is stored: plain, well compressed, or as gzip bytes of its own."""
    way, content = content[:1], content[1:]
    name = "x.nii" if way < b"\x40" else "x.nii.gz"
    path = _file(folder, name, seeds.compressed(content) if b"\x40" <= way < b"\xa0" else content)
    grid = Grid((4, 5, 6), seeds.AFFINE)
    for read in (read_image, read_labels, lambda each: read_mask(each, grid), _series):
        with suppress(NodeRegError):
            read(path)


def _series(path: Path) -> None:
    for _ in open_series(path).volumes():
        pass


def _image_seeds() -> list[bytes]:
    plain = seeds.niftis()
    packed = [b"\xf0" + seeds.compressed(each) for each in plain[:3]]
    return [b"\x00" + each for each in plain] + [b"\x80" + each for each in plain] + packed


def field(content: bytes, folder: Path) -> None:
    """A displacement field as NIfTI; the first byte as in :func:`image`."""
    way, content = content[:1], content[1:]
    packed = way >= b"\x80"
    _chain(_file(folder, f"x.nii{'.gz' if packed else ''}", seeds.compressed(content) if packed else content))


def composite(content: bytes, folder: Path) -> None:
    """An ITK transform in HDF5."""
    _chain(_file(folder, "x.h5", content))


def affine_text(content: bytes, folder: Path) -> None:
    """An ITK transform as text."""
    _chain(_file(folder, "x.txt", content))


def matlab(content: bytes, folder: Path) -> None:
    """An ITK transform as a MATLAB file."""
    _chain(_file(folder, "x.mat", content))


def json_text(content: bytes, folder: Path) -> None:
    """Description, filter file, sidecar, dictionary of sessions; what is taken can be written again."""
    with suppress(NodeRegError):
        _file(folder, "dataset_description.json", content)
        json.dumps(read_description(folder), allow_nan=False, ensure_ascii=False).encode()
    with suppress(NodeRegError):
        read_filters(_file(folder, "filters.json", content))
    path = _file(folder, "sub-01_desc-brain_mask.json", content)
    name = parse_name("sub-01_desc-brain_mask.nii.gz")
    assert name is not None  # noqa: S101 - for the type checker
    told = Extra(path.with_name("sub-01_desc-brain_mask.nii.gz"), "bids::x", name).told()
    json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
    _file(folder, "sessions.json", content)
    _sessions(folder, b"session_id\tage\nses-A\t1\nses-B\t2\n")


def table(content: bytes, folder: Path) -> None:
    """A pairs file, landmarks, tasks, and the times of sessions."""
    dataset = Dataset(folder, {})
    path = _file(folder, "x.tsv", content)
    points = _file(folder, "x.csv", content)
    for read in (
        lambda: read_pairs_file(path, dataset),
        lambda: read_points(path),
        lambda: read_points(points),
        lambda: read_tasks(path, ("fixed",), ("fixed", "moving"), "file"),
    ):
        with suppress(NodeRegError):
            read()
    _sessions(folder, content)


def settings(content: bytes, folder: Path) -> None:
    """A settings file."""
    with suppress(NodeRegError):
        check_settings(read_settings(_file(folder, "x.toml", content), PRESETS["default"]))


def weights(content: bytes, _folder: Path) -> None:
    """Weights of a network, as the package's own are read."""
    with suppress(SafetensorError):
        load(content)


def _sessions(folder: Path, content: bytes) -> None:
    (folder / "sub-01").mkdir(exist_ok=True)
    _file(folder / "sub-01", "sub-01_sessions.tsv", content)
    read_timeline(folder, "01", ["A", "B"])


def _chain(path: Path) -> None:
    with suppress(NodeRegError):
        read_chain([path])


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def checksum(content: bytes) -> str:
    """Name of a file for its content."""
    return f"{zlib.crc32(content):08x}"


_NIBABEL = ("nibabel.nifti1", "nibabel.analyze", "nibabel.wrapstruct", "nibabel.volumeutils")

TARGETS: dict[str, Target] = {
    "image": Target(image, _image_seeds, (*_NIBABEL, "gzip", "_compression")),
    "field": Target(
        field,
        lambda: [first + each for first in (b"\x00", b"\xff") for each in seeds.fields()],
        (*_NIBABEL, "gzip", "_compression"),
    ),
    "composite": Target(composite, sound, guided=False, mutate=odd, around=forked_reader),
    "affine-text": Target(affine_text, seeds.affine_texts),
    "matlab": Target(matlab, seeds.matlab),
    "json": Target(json_text, seeds.json_texts, ("json",)),
    "table": Target(table, seeds.tables, ("csv",)),
    "settings": Target(settings, seeds.settings, ("tomllib", "cattrs")),
    "weights": Target(weights, seeds.weights, ("safetensors",)),
}
