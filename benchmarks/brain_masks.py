"""How well brains are found in heads: every way, against known masks, in easy and in nasty images.

    python benchmarks/brain_masks.py DATA --ways template deepbet --out docs/results/brain-masks

DATA has the data sets ``ds-openms`` and ``templates``. Rows that the JSON file has already are not measured
again. Truth of ds-openms is the union of its tissue labels, closed by 5 mm and without holes: fluid beyond
the gyri is not in it. That of the MNI152 heads is the template's own mask, which reaches the skull.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_nodereg.app.find_brain import find_brain
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import forward_map
from bids_nodereg.imaging.mask import find_mask, one_piece
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.volume import Volume, read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

CLOSED_MM = 5.0
IDENTITY = forward_map(np.eye(4))


@dataclass(frozen=True, eq=False)
class Head:
    """An image of a head with its true brain, on one grid."""

    name: str
    volume: Volume
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """How one way did on one head."""

    head: str
    way: str
    dice: float
    volume_l: float
    true_volume_l: float
    tissue_missed: float
    seconds: float
    origin: str


def tissue_hull(labels: NDArray[np.integer], grid: Grid) -> NDArray[np.bool_]:
    """Union of labels, closed by a ball, without holes."""
    room = [(int(CLOSED_MM / size) + 2,) * 2 for size in grid.spacing]
    tissue = np.pad(labels > 0, room)
    grown = ndimage.distance_transform_edt(~tissue, sampling=grid.spacing) <= CLOSED_MM
    closed = ndimage.distance_transform_edt(grown, sampling=grid.spacing) > CLOSED_MM
    inner = tuple(slice(before, -after) for before, after in room)
    return one_piece((closed | tissue)[inner])


def openms_heads(root: Path) -> Iterator[Head]:
    """The nine heads of ds-openms: T1w, T2w and FLAIR of three sessions."""
    for session in ("sub-01/ses-1", "sub-01/ses-2", "sub-04/ses-1"):
        for suffix, desc in (("T1w", "sae18"), ("T2w", "sae18fromT1w"), ("FLAIR", "sae18fromT1w")):
            stem = session.replace("/", "_")
            volume = read_image(root / session / "anat" / f"{stem}_{suffix}.nii.gz")
            name = f"{stem}_space-{suffix}_desc-{desc}_dseg.nii.gz"
            labels = read_labels(root / "derivatives" / "seg-auto" / session / "anat" / name).data
            yield Head(f"{stem} {suffix}", volume, tissue_hull(labels, volume.grid))


def mni_heads(root: Path) -> Iterator[Head]:
    """The average T1w and T2w heads of MNI152NLin6Asym at 2 mm."""
    folder, stem = root / "tpl-MNI152NLin6Asym", "tpl-MNI152NLin6Asym"
    mask = read_labels(folder / f"{stem}_res-01_desc-brain_mask.nii.gz")
    share = Volume(mask.data.astype(np.float32), mask.grid, mask.path, mask.dtype)
    for suffix in ("T1w", "T2w"):
        volume = read_image(folder / f"{stem}_res-02_{suffix}.nii.gz")
        yield Head(f"MNI152 {suffix}", volume, warp_image(share, volume.grid, IDENTITY) >= 0.5)


def changed_grid(head: Head, name: str, grid: Grid) -> Head:
    """The same head in the same world on another grid; both by linear interpolation."""
    data = warp_image(head.volume, grid, IDENTITY)
    truth = Volume(head.truth.astype(np.float32), head.volume.grid, head.volume.path, head.volume.dtype)
    volume = Volume(data, grid, head.volume.path, head.volume.dtype)
    return Head(f"{head.name}, {name}", volume, warp_image(truth, grid, IDENTITY) >= 0.5)


def resized(head: Head, name: str, spacing: tuple[float, float, float]) -> Head:
    """Voxels of another size over the same field of view."""
    own = head.volume.grid
    shape = tuple(int(n * old / new) for n, old, new in zip(own.shape, own.spacing, spacing, strict=True))
    affine = own.affine.copy()
    affine[:3, :3] *= np.divide(spacing, own.spacing)
    return changed_grid(head, name, Grid((shape[0], shape[1], shape[2]), affine))


def cropped(head: Head, name: str, low: float, high: float) -> Head:
    """A part of the last axis, as shares of it."""
    own = head.volume.grid
    first, last = int(low * own.shape[2]), int(high * own.shape[2])
    affine = own.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    part = np.ascontiguousarray(head.volume.data[..., first:last])
    volume = Volume(part, Grid((*own.shape[:2], last - first), affine), head.volume.path, head.volume.dtype)
    return Head(f"{head.name}, {name}", volume, head.truth[..., first:last])


def turned(head: Head, name: str, degrees: tuple[float, float, float]) -> Head:
    """The same voxels with a header that turns them about the middle of the image."""
    own = head.volume.grid
    middle = own.to_world(np.divide(own.shape, 2))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    grid = Grid(own.shape, turn @ own.affine)
    volume = Volume(head.volume.data, grid, head.volume.path, head.volume.dtype)
    return Head(f"{head.name}, {name}", volume, head.truth)


def reordered(head: Head, name: str, axes: tuple[int, int, int], flipped: tuple[int, ...]) -> Head:
    """The same voxels in the same world, stored in another order."""
    own = head.volume.grid
    data, truth, affine = head.volume.data, head.truth, own.affine.copy()
    data, truth = (np.flip(each.transpose(axes), flipped) for each in (data, truth))
    affine[:3, :3] = affine[:3, list(axes)]
    for axis in flipped:
        affine[:3, 3] += (data.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    volume = Volume(np.ascontiguousarray(data), Grid(data.shape, affine), head.volume.path, head.volume.dtype)
    return Head(f"{head.name}, {name}", volume, truth)


def noisy(head: Head, name: str) -> Head:
    """Rician noise of 4 % of the brightest tissue everywhere."""
    random = np.random.default_rng(1)
    sigma = 0.04 * float(np.percentile(head.volume.data[head.truth], 99))
    real, imaginary = (random.normal(0, sigma, head.volume.data.shape) for _ in range(2))
    data = np.hypot(head.volume.data + real, imaginary).astype(np.float32)
    volume = Volume(data, head.volume.grid, head.volume.path, head.volume.dtype)
    return Head(f"{head.name}, {name}", volume, head.truth)


def nasty_heads(head: Head) -> Iterator[Head]:
    """One head, spoilt in all the ways that clinics know."""
    makers: list[Callable[[], Head]] = [
        lambda: resized(head, "1.5 mm", (1.5, 1.5, 1.5)),
        lambda: resized(head, "0.8 x 0.8 x 5.5 mm", (0.8, 0.8, 5.5)),
        lambda: cropped(head, "lowest quarter cut", 0.25, 1.0),
        lambda: cropped(head, "top quarter cut", 0.0, 0.75),
        lambda: turned(head, "header turned by 20, -15, 10 degrees", (20, -15, 10)),
        lambda: reordered(head, "axes PSR", (1, 2, 0), (2,)),
        lambda: noisy(head, "4 % Rician noise"),
    ]
    for make in makers:
        yield make()


def measured(head: Head, way: str, device: torch.device) -> Row:
    """One way on one head."""
    foreground, _ = find_mask(head.volume.data, head.volume.grid.spacing)
    began = time.perf_counter()
    found = find_brain(head.volume, foreground, way, device)
    seconds = time.perf_counter() - began
    mask = np.zeros_like(head.truth) if found.mask is None else found.mask
    litre = head.volume.grid.voxel_volume / 1e6
    both = np.count_nonzero(mask & head.truth)
    return Row(
        head=head.name,
        way=way,
        dice=round(float(2 * both / (np.count_nonzero(mask) + np.count_nonzero(head.truth))), 4),
        volume_l=round(float(np.count_nonzero(mask) * litre), 3),
        true_volume_l=round(float(np.count_nonzero(head.truth) * litre), 3),
        tissue_missed=round(float(1 - both / np.count_nonzero(head.truth)), 4),
        seconds=round(seconds, 1),
        origin=found.origin,
    )


def table(rows: list[Row], ways: list[str]) -> str:
    """Rows as a table in Markdown, one line a head."""
    lines = [
        "| image | true volume | " + " | ".join(f"{way}: Dice, volume, missed, time" for way in ways) + " |",
        "|---|---|" + "---|" * len(ways),
    ]
    for name in dict.fromkeys(row.head for row in rows):
        mine = {row.way: row for row in rows if row.head == name}
        cells = [_cell(mine.get(way)) for way in ways]
        true_volume = next(iter(mine.values())).true_volume_l
        lines.append(f"| {name} | {true_volume:.2f} l | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return "not measured"
    return f"{row.dice:.3f}, {row.volume_l:.2f} l, {row.tissue_missed:.1%}, {row.seconds:.0f} s"


def main() -> int:
    """Measure and write the table and the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ways", nargs="+", default=["template"])
    parser.add_argument("--only", default="", help="heads whose name has this in it")
    parser.add_argument("--out", type=Path, required=True, help="without ending")
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = [*openms_heads(options.data / "ds-openms"), *mni_heads(options.data / "templates")]
    spoilt = [bad for head in heads if head.name in NASTY for bad in nasty_heads(head)]
    kept = options.out.with_suffix(".json")
    rows = [Row(**row) for row in json.loads(kept.read_text())] if kept.is_file() else []
    done = {(row.head, row.way) for row in rows}
    for head in [*heads, *spoilt]:
        if options.only in head.name:
            for way in (way for way in options.ways if (head.name, way) not in done):
                rows.append(measured(head, way, torch.device("cpu")))
                print(rows[-1], flush=True)
                kept.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table(rows, options.ways))
    return 0


NASTY = ("sub-01_ses-2 T1w", "sub-04_ses-1 FLAIR")

if __name__ == "__main__":
    sys.exit(main())
