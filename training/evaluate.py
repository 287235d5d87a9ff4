"""Does the learned descriptor find places again across contrasts? ``python training/evaluate.py``.

On real images of two people that the training never saw: the fraction of places whose nearest
candidate (in the descriptor, within 8 mm) is within 1.5 mm of the truth, and how the mean distance
grows with a translation.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load

if __name__ == "__main__":  # run as a file: the repository is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import ROOT, shared_data, write_results
from bids_nodereg.imaging.prepare import onto_grid, prepare, working_grid
from bids_nodereg.imaging.volume import read_image
from bids_nodereg.registration.descriptors.contrastive import FeatureNetwork, contrastive
from bids_nodereg.registration.descriptors.mind import mind_ssc
from bids_nodereg.registration.settings import DescriptorSettings
from training.retrieval import Search, capture, places_in, retrieve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    Describe = Callable[[Tensor, Tensor], Tensor]
    Described = tuple[str, Tensor, Tensor]

PAIRS = (
    ("kirby113", "T1w", "T2w"),
    ("kirby113", "T1w", "FLAIR"),
    ("openms07", "T1w", "T2w"),
    ("openms07", "T1w", "FLAIR"),
)
MARGIN_MM = 12.0
SEARCH_MM, TOLERANCE_MM, CAPTURE_MM = 8.0, 1.5, 10.0
SETTINGS = DescriptorSettings()


@dataclass(frozen=True)
class Aligned:
    """Two contrasts of one person on one lattice, ``1 1 i j k``."""

    name: str
    fixed: Tensor
    moving: Tensor
    mask: Tensor


def main() -> None:
    """Measure every descriptor on every pair and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones (safetensors)")
    parser.add_argument("--resolution-mm", type=float, default=1.5)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--fusion", type=float, nargs="*", default=[0.25, 0.5])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "contrastive")
    arguments = parser.parse_args()
    table = all_descriptors(arguments.weights)
    rows: list[dict[str, Any]] = []
    for subject_and_contrasts in PAIRS:
        pair = read_pair(*subject_and_contrasts, arguments.resolution_mm)
        every = described(pair, table, arguments.fusion)
        rows += [measure(one, pair, arguments.resolution_mm, arguments.places) for one in every]
    rows = means(rows) + rows
    write_results(arguments.out, "The learned descriptor on people it never saw", rows, notes(arguments))


def all_descriptors(weights: Path | None) -> Mapping[str, Describe]:
    """What is compared, by name."""
    start, random = (FeatureNetwork().requires_grad_(requires_grad=False) for _ in range(2))
    torch.manual_seed(0)
    random.head.reset_parameters()  # a new network's is zero: the start of the training
    trained = None
    if weights is not None:
        trained = FeatureNetwork().requires_grad_(requires_grad=False)
        trained.load_state_dict(load(weights.read_bytes()))
    table: dict[str, Describe] = {
        "intensity": lambda image, _mask: image,
        "random weights": lambda image, mask: contrastive(image, mask, SETTINGS, random),
        "start of training": lambda image, mask: contrastive(image, mask, SETTINGS, start),
        "MIND-SSC": lambda image, mask: mind_ssc(image, mask, SETTINGS),
        "contrastive": lambda image, mask: contrastive(image, mask, SETTINGS, trained),
    }
    return table


def described(pair: Aligned, table: Mapping[str, Describe], fusion: Sequence[float]) -> Iterator[Described]:
    """Both images by every descriptor, and by shares of the learned one beside MIND-SSC."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, describe in table.items():
        found[name] = describe(pair.fixed, pair.mask), describe(pair.moving, pair.mask)
        yield name, *found[name]
    for share in fusion:
        parts = zip(found["contrastive"], found["MIND-SSC"], strict=True)
        fixed, moving = (fused(learned, local, share) for learned, local in parts)
        yield f"contrastive ({share:g}) + MIND-SSC", fixed, moving


def fused(learned: Tensor, local: Tensor, share: float) -> Tensor:
    """Both side by side: the distance is ``share`` of the learned one and the rest of the other."""
    return torch.cat([learned * (2 * share) ** 0.5, local * (2 * (1 - share)) ** 0.5], 1)


def read_pair(subject: str, fixed: str, moving: str, resolution_mm: float) -> Aligned:
    """Two contrasts of a person on one isotropic grid, scaled as the program scales them."""
    folder = shared_data("ds-brain", f"sub-{subject}", "anat")
    prepared = [prepare(read_image(folder / f"sub-{subject}_{suffix}.nii.gz")) for suffix in (fixed, moving)]
    grid = working_grid(prepared[0], resolution_mm, MARGIN_MM)
    (image, mask), (other, other_mask) = (onto_grid(one, grid) for one in prepared)
    both = torch.from_numpy(mask & other_mask).float()[None, None]
    a, b = (torch.from_numpy(values)[None, None] for values in (image, other))
    return Aligned(f"{subject} {fixed}-{moving}", a, b, both)


def measure(one: Described, pair: Aligned, spacing_mm: float, count: int) -> dict[str, Any]:
    """One row: a descriptor on a pair."""
    name, fixed, moving = one
    row: dict[str, Any] = {"descriptor": name, "pair": pair.name}
    for patch, where in ((0, "voxel"), (2, "patch")):
        search = Search(int(SEARCH_MM / spacing_mm), patch, spacing_mm, TOLERANCE_MM)
        places = places_in(pair.mask, count, search.reach_voxels + patch)
        found = retrieve(fixed, moving, places, search)
        row[f"{where}: within {TOLERANCE_MM} mm"] = found.within
        row[f"{where}: error (mm)"] = found.error_mm
        row[f"{where}: rank"] = found.median_rank
    curve = capture(fixed, moving, pair.mask, int(CAPTURE_MM / spacing_mm))
    rising = next((n for n in range(len(curve) - 1) if curve[n + 1] <= curve[n]), len(curve) - 1)
    row["rises to (mm)"] = rising * spacing_mm
    row["distance aligned"] = curve[0]
    row["distance at the end"] = curve[-1]
    return row


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of means over the pairs for each descriptor; of the rise, the smallest."""
    result = []
    for name in dict.fromkeys(row["descriptor"] for row in rows):
        own = [row for row in rows if row["descriptor"] == name]
        mean = {"descriptor": name, "pair": "mean"}
        for key in list(own[0])[2:]:
            values = [row[key] for row in own]
            mean[key] = min(values) if key.startswith("rises") else sum(values) / len(values)
        result.append(mean)
    return result


def notes(arguments: argparse.Namespace) -> list[str]:
    """What the columns mean."""
    return [
        f"{arguments.places} random places in the mask per pair at {arguments.resolution_mm:g} mm, the same "
        f"for every descriptor; candidates are all voxels of a cube of {SEARCH_MM:g} mm half-width. `voxel`: "
        "the descriptor of one voxel; `patch`: averaged over 5 x 5 x 5 voxels. `rank`: median number of "
        "candidates nearer than the truth. `rises to`: translation up to which the mean distance in the mask "
        f"grows (along three axes, up to {CAPTURE_MM:g} mm; in the rows of means the smallest of the pairs). "
        "The images of a person were aligned by their publishers, about within half a millimetre.",
        "",
        "Neither person was in the training. `start of training` is MIND-SSC without its mean over the "
        "channels, as unit vectors; `random weights` has a random last layer instead of a zero one. The "
        "numbers in brackets are the share of the learned distance.",
    ]


if __name__ == "__main__":
    main()
