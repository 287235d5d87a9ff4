"""Our own method on the prepared files of a case: identity affine, the case's grid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import common_grid, deform
from bids_nodereg.config import PRESETS, Settings, overlay
from bids_nodereg.imaging.maps import DisplacementField
from bids_nodereg.imaging.prepare import Prepared, prepare
from bids_nodereg.imaging.volume import read_image, read_labels
from peers.methods import OURS

if TYPE_CHECKING:
    from bids_nodereg.geometry import Grid
    from peers.prepare import CaseFiles


def settings_of(name: str) -> Settings:
    """Settings of a method: ``nodereg-<preset>``, or ``nodereg[-<preset>]:<a.b=c>,<d.e=f>``.

    A value is read as JSON where it is JSON, else as a word. Commas inside brackets belong to a value.
    """
    preset, _, changes = name.partition(":")
    settings = PRESETS[preset.removeprefix(OURS).removeprefix("-") or "default"]
    for change in filter(None, _split(changes)):
        path, _, text = change.partition("=")
        settings = overlay(settings, _nested(path, _value(text)), name)
    return settings


def register_ours(files: CaseFiles, name: str, threads: int) -> tuple[DisplacementField, DisplacementField]:
    """Forward and inverse displacement on the grid of the case."""
    return fields_of(read_ours(files), settings_of(name), threads)


def read_ours(files: CaseFiles) -> Inputs:
    """Both images of a case."""
    return Inputs(_prepared(files, "fixed"), _prepared(files, "moving"))


def fields_of(
    inputs: Inputs, settings: Settings, threads: int, device: str = "cpu"
) -> tuple[DisplacementField, DisplacementField]:
    """Forward and inverse displacement on the grid of the case: from arrays to arrays."""
    torch.set_num_threads(threads)
    case_grid = inputs.fixed.volume.grid
    wanted = common_grid(inputs.fixed, settings)
    same = np.allclose(wanted.spacing, case_grid.spacing)
    grid = case_grid if same else wanted  # a preset may work more coarsely than the case is
    found = deform(inputs, np.eye(4), grid, settings, torch.device(device), lambda _step: None)
    forward, inverse = found.forward.field, found.inverse.field
    if forward is None or inverse is None:
        msg = "no deformation was made"
        raise ValueError(msg)
    return _onto(forward, case_grid), _onto(inverse, case_grid)


def _prepared(files: CaseFiles, name: str) -> Prepared:
    mask = read_labels(files.path(f"{name}_mask")).data > 0
    return prepare(read_image(files.path(name)), mask)


def _onto(field: DisplacementField, grid: Grid) -> DisplacementField:
    """Read a field at the voxel centres of a grid; itself where it is there already."""
    if field.grid.is_close(grid):
        return field
    nj, nk = grid.shape[1:]
    plane = np.moveaxis(np.indices((1, nj, nk)), 0, -1)[0]
    rows = [field.at(grid.to_world(plane + np.array([i, 0, 0]))) for i in range(grid.shape[0])]
    return DisplacementField(grid, np.stack(rows).astype(np.float32))


def _split(changes: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in changes:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    tree: dict[str, Any] = value
    return tree


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
