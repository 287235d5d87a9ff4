"""Write everything of one pair; the forward sidecar comes last and marks the pair as done."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.extra_files import remove_stale, write_extras
from bids_nodereg.app.inputs import looks_skull_stripped
from bids_nodereg.app.kinds import limits_of
from bids_nodereg.app.status import record_of
from bids_nodereg.app.velocity_files import write_velocity
from bids_nodereg.bids.sidecars import (
    jacobian_sidecar,
    labels_sidecar,
    logjacobian_sidecar,
    transform_sidecar,
    warped_sidecar,
)
from bids_nodereg.bids.templates import TemplateGrid
from bids_nodereg.files import atomic_path, remove, write_json
from bids_nodereg.imaging.carry import ALIGNED, Target
from bids_nodereg.imaging.resample import (
    LOG_FLOOR,
    jacobian_determinant,
    log_determinant,
    warp_image,
    warp_labels,
)
from bids_nodereg.imaging.series import open_series
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5, write_displacement_nifti
from bids_nodereg.imaging.volume import read_labels, write_image
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.measures import json_ready
from bids_nodereg.registration.diffeomorphism import MOST_REPAIRS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.stages import Solution
    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.config import Settings
    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.chain import Chain
    from bids_nodereg.imaging.maps import SpatialMap
    from bids_nodereg.quality.measures import Measures
    from bids_nodereg.quality.verdict import Verdict
    from bids_nodereg.registration.diffeomorphism import Repair
    from bids_nodereg.registration.guard import Rescue


@dataclass(frozen=True)
class Work:
    """All that is known of one solved pair when it is written."""

    job: Job
    inputs: Inputs
    solution: Solution
    settings: Settings
    threads: int
    chain: Chain | None = None
    """Of a composed map: the exact one, which ``solution.forward`` only samples for measures and pictures."""

    @property
    def forward(self) -> SpatialMap | Chain:
        """The map that images are pulled through: fixed to moving points."""
        return self.solution.forward if self.chain is None else self.chain


def write_transforms(work: Work) -> None:
    """Composite transforms both ways, and the parts of the forward one."""
    out, solution = work.job.outputs, work.solution
    remove_stale(work.job.pair, out)
    write_composite_h5(out.forward_h5, solution.forward)
    write_composite_h5(out.inverse_h5, solution.inverse)
    write_affine_txt(out.affine_txt, solution.affine)
    for path, mapping in ((out.warp_nii, solution.forward), (out.inverse_warp_nii, solution.inverse)):
        if mapping.field is not None:
            write_displacement_nifti(path, mapping.field)
        else:
            remove(path)
    write_velocity(work.job.pair, out, solution.velocity)


def write_images(work: Work) -> None:
    """The moving image and its labels, on the fixed image's own grid or those of the template."""
    for out, grid in _grids(work):
        _write_images_on(work, out, grid)


def write_jacobian(work: Work) -> None:
    """The Jacobian determinant and its logarithm, on the fixed image's own grid."""
    job, grid, out = work.job, work.inputs.fixed.volume.grid, work.job.outputs
    determinant = jacobian_determinant(work.forward, grid, threads=work.threads)
    write_image(determinant, grid, out.jacobian_nii, code=ALIGNED)
    write_json(out.jacobian_json, jacobian_sidecar(job.pair, out))
    write_image(log_determinant(determinant), grid, out.logjacobian_nii, code=ALIGNED)
    write_json(out.logjacobian_json, logjacobian_sidecar(job.pair, out, floor=LOG_FLOOR))


def _grids(work: Work) -> Iterator[tuple[Outputs, Grid]]:
    """Where images are written: names and grid of each resolution; without a template there is one."""
    template = work.job.pair.template
    for grid in (TemplateGrid(),) if template is None else template.grids:
        own = work.inputs.fixed.volume.grid if grid.path is None else open_series(grid.path).grid
        yield work.job.outputs.at(grid.res), own


def _write_images_on(work: Work, out: Outputs, grid: Grid) -> None:
    job, moving = work.job, work.inputs.moving.volume
    warped = warp_image(
        moving, grid, work.forward, interpolation=work.settings.interpolation, threads=work.threads
    )
    write_image(warped, grid, out.warped_nii, code=ALIGNED)
    stripped = looks_skull_stripped(work.inputs.moving)
    sidecar = warped_sidecar(
        job.pair, out, skull_stripped=stripped, interpolation=work.settings.interpolation
    )
    write_json(out.warped_json, sidecar)
    for label_map in job.pair.moving_dseg:
        labels = read_labels(label_map.path)
        carried = warp_labels(labels, grid, work.forward, threads=work.threads)
        path = out.carried_nii(label_map.desc)
        write_image(carried, grid, path, dtype=carried.dtype, code=ALIGNED)
        write_json(out.carried_json(label_map.desc), labels_sidecar(job.pair, out, label_map))
        if label_map.lookup is not None:
            _copy(label_map.lookup, out.carried_tsv(label_map.desc))
    target = Target(grid, work.forward, work.settings.interpolation, work.threads)
    write_extras(job.pair, out, target, skull_stripped=stripped)


def write_quality(
    path: Path, pair: Pair, measures: Measures, verdict: Verdict, more: Mapping[str, str] | None = None
) -> None:
    """The measures with their verdict, their dictionary, what kind of pair it is, and what else to know."""
    content = {
        "Pair": {"Rule": pair.rule, "Moving": pair.moving.suffix, "Fixed": _fixed_label(pair)},
        "Verdict": verdict.status,
        "Reasons": list(verdict.reasons),
        **(more or {}),
        "Measures": dict(measures),
        "Limits": [
            {
                "Measure": limit.key,
                "Beyond": limit.beyond,
                **json_ready({"Check": limit.check, "Fail": limit.fail}),
            }
            for limit in limits_of(pair)
        ],
        "Dictionary": {
            key: {"LongName": entry.name, "Units": entry.units, "Description": entry.text}
            for key, entry in DICTIONARY.items()
            if key in measures
        },
    }
    write_json(path, content)


def _fixed_label(pair: Pair) -> str:
    """What the group level calls the fixed image: its contrast, or the space that it stands for."""
    return pair.fixed.suffix if pair.template is None else pair.template.space


def write_sidecars(work: Work, details: Mapping[str, Any]) -> None:
    """Sidecars of both transforms. The forward one says that the pair is done, so it is the last file."""
    pair, out = work.job.pair, work.job.outputs
    grid = work.solution.grid
    shared = {
        "Type": "affine" if work.solution.forward.field is None else "affine and displacement field",
        "DisplacementGrid": {"Shape": list(grid.shape), "AffineRAS": grid.affine.tolist()},
    }
    write_json(out.inverse_json, transform_sidecar(pair, out, inverse=True, details=shared))
    told = {**shared, **_weights_told(work), **details, **record_of(work.job, work.settings)}
    if work.solution.repair is not None:
        told["FoldRepair"] = repair_told(work.solution.repair)
    if work.solution.rescues:
        told["Rescues"] = [rescue_told(rescue) for rescue in work.solution.rescues]
    if work.solution.remarks:
        told["Remarks"] = list(work.solution.remarks)
    write_json(out.forward_json, transform_sidecar(pair, out, details=told))


def _weights_told(work: Work) -> dict[str, Any]:
    """Which masks and maps weighted the comparison and the smoothness; nothing where none did."""
    pair, inputs = work.job.pair, work.inputs
    sides = {"Fixed": (pair.fixed_lesion, inputs.fixed), "Moving": (pair.moving_lesion, inputs.moving)}
    masks = {
        side: {"Source": lesion.uri, "ExcludedVolumeMl": round(prepared.excluded_ml, 3)}
        for side, (lesion, prepared) in sides.items()
        if lesion is not None
    }
    told: dict[str, Any] = {"CostFunctionMasks": masks} if masks else {}
    if pair.stiffness is not None and work.settings.transform == "deformable":
        told["StiffnessMap"] = pair.stiffness.uri
    return told


def repair_told(repair: Repair) -> dict[str, Any]:
    """What was done against folds, in words and numbers."""
    smoothings = min(repair.rounds, MOST_REPAIRS)
    words = "No cell of the working grid was folded in either map; nothing was changed."
    if repair.folded_before:
        words = (
            f"{repair.folded_before} cells of the working grid were folded in one of the maps; around them "
            f"the velocity was smoothed {smoothings} time(s), at most {repair.smoothed_fraction:.2%} of its "
            "lattice"
        )
        scalings = repair.rounds - smoothings
        words += f", then all of it was scaled down {scalings} time(s)." if scalings else "."
    return {
        "Description": f"{words} The final maps have no fold.",
        "FoldedCellsBefore": repair.folded_before,
        "Rounds": repair.rounds,
        "SmoothedFraction": repair.smoothed_fraction,
    }


def rescue_told(rescue: Rescue) -> dict[str, Any]:
    """What was done where the optimisation met a number that is none, in words and numbers."""
    then = {
        "smaller step": "the level started again from its last good state with half the learning rate",
        "last good state": "the last good state was kept",
        "affine alone": "the affine alone was kept",
    }
    return {
        "Description": f"The loss was not a finite number; {then[rescue.remedy]}.",
        "Level": rescue.level,
        "Iteration": rescue.iteration,
        "LearningRate": rescue.learning_rate,
    }


def _copy(path: Path, final: Path) -> None:
    with atomic_path(final) as temporary:
        shutil.copyfile(path, temporary)
