"""A template of the phantom head: another grid, another place, another shape, all of it known.

The template's world is its own. A point of it is taken to the world of the participant's T1w by
:func:`template_to_t1w`, and from there by ``phantom.truth()`` to the T2w.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from tests.app import phantom

if TYPE_CHECKING:
    from pathlib import Path

SPACE = "Phantom"
SHIFT_MM = np.array([-5.0, 7.0, -12.0])  # from the head in the T1w's world to the template's
GRIDS = {"01": ((29, 35, 28), 3.0), "02": ((18, 21, 17), 5.0)}  # by res-: shape and spacing in mm


def template_to_t1w(points: np.ndarray) -> np.ndarray:
    """Rotation by 3 degrees, 4 percent, and a bump of 2 mm."""
    p = points - phantom.CENTRE - SHIFT_MM
    matrix = Rotation.from_euler("xyz", (2, 1, -2), degrees=True).as_matrix() * [0.96, 1.03, 0.98]
    bump = np.exp(-np.sum((p - [8.0, 10.0, 4.0]) ** 2, -1, keepdims=True) / (2 * 14.0**2)) * [1.5, -2.0, 1.0]
    return (p + bump) @ matrix.T + phantom.CENTRE


def without_figures(patch) -> None:
    """Spare the drawing, which takes longer than a small registration; other tests look at figures."""
    patch.setattr("bids_nodereg.app.present.draw_pair", lambda *_args, **_kwargs: {})


def affine_of(res: str) -> np.ndarray:
    shape, spacing = GRIDS[res]
    return phantom.affine_of(shape, (spacing,) * 3, (0, 0, 0), phantom.CENTRE + SHIFT_MM)


def shares(res: str) -> np.ndarray:
    return phantom.soft_labels(template_to_t1w(phantom.points_of(GRIDS[res][0], affine_of(res))))


def make_home(home: Path, *, contrasts=("T1w",), cohort: str | None = None) -> Path:
    """A TEMPLATEFLOW_HOME with one template in two resolutions, and an empty placeholder for a third."""
    root = home / f"tpl-{SPACE}"
    folder = root if cohort is None else root / f"cohort-{cohort}"
    lead = f"tpl-{SPACE}" if cohort is None else f"tpl-{SPACE}_cohort-{cohort}"
    folder.mkdir(parents=True)
    (root / "template_description.json").write_text(
        json.dumps({"Identifier": SPACE, "Name": "A phantom", "License": "CC0", "BIDSVersion": "1.10.0"})
    )
    values = {"T1w": phantom.T1W, "T2w": phantom.T2W}
    for res in GRIDS:
        known = shares(res)
        for contrast in contrasts:
            image = phantom.image_of(known, values[contrast], 3).astype(np.float32)
            phantom.save(folder / f"{lead}_res-{res}_{contrast}.nii.gz", image, affine_of(res))
        mask = (known[..., 0] < 0.5).astype(np.uint8)
        phantom.save(folder / f"{lead}_res-{res}_desc-brain_mask.nii.gz", mask, affine_of(res))
    (folder / f"{lead}_res-03_T1w.nii.gz").touch()
    return home
