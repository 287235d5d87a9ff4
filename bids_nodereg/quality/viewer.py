"""An interactive page of one pair: slices in three planes and a volume, by NiiVue, inside one file.

NiiVue (BSD-2-Clause) is not part of this package: nilearn's wheel carries it, and the extra ``viewer``
installs that.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from markupsafe import Markup

from bids_nodereg.errors import MissingInputError
from bids_nodereg.files import write_text
from bids_nodereg.quality.figures.maps import nice_limit
from bids_nodereg.quality.figures.window import grey_window
from bids_nodereg.quality.jacobian import LOG_FLOOR
from bids_nodereg.quality.page import asset, environment, policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIBRARY = "niivue.umd.js"
MARGIN_MM = 6.0
ALIGNED = 2
"""NIfTI code of the volumes' world."""
LEVELS = 254
"""Steps of the Jacobian's scale in uint8, an even number, so that zero is one of them."""


@dataclass(frozen=True, eq=False)
class ViewedPair:
    """What the viewer shows: arrays on one canonical grid.

    Attributes
    ----------
    title
        Heading, such as ``sub-01: T2w onto T1w``.
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm.
    fixed, registered
        ``(i, j, k)`` intensities; the moving image through the whole map.
    determinant
        ``(i, j, k)`` Jacobian determinant; None where nothing was deformed.
    fixed_name, moving_name
        Contrasts.
    report
        Address of the section of the report that this belongs to.
    """

    title: str
    affine: NDArray[np.floating]
    fixed: NDArray[np.floating]
    registered: NDArray[np.floating]
    determinant: NDArray[np.floating] | None
    fixed_name: str
    moving_name: str
    report: str


def viewer_library() -> str:
    """Load NiiVue from where nilearn keeps it.

    Raises
    ------
    MissingInputError
        If nilearn is not installed, or has no NiiVue.
    """
    spec = find_spec("nilearn")
    places = None if spec is None else spec.submodule_search_locations
    found = [path for place in places or () for path in sorted(Path(place).rglob(LIBRARY))]
    if not found:
        state = "nilearn is not installed" if spec is None else "the installed nilearn does not carry it"
        msg = (
            f"--interactive-report: needs NiiVue ({LIBRARY}), and {state}. Install the extra: "
            "pip install 'bids-nodereg[viewer]', in a clone '.[viewer]'; or leave the option out: the report "
            "itself needs no NiiVue."
        )
        raise MissingInputError(msg)
    return found[0].read_text(encoding="utf-8")


def render_viewer(pair: ViewedPair, out_html: Path, *, library: str, version: str) -> Path:
    """Write the interactive page of a pair.

    Parameters
    ----------
    pair
        Arrays to show; they are cut to what is not background.
    out_html
        Final name; the page appears there only when whole.
    library
        Text of NiiVue, see :func:`viewer_library`.
    version
        Of the program that writes the page.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    style, script = asset("report.css") + asset("viewer.css"), asset("viewer.js")
    data = json.dumps(_volumes(pair), separators=(",", ":"), allow_nan=False)
    page = (
        environment()
        .get_template("viewer.html.j2")
        .render(
            pair=pair,
            version=version,
            # Files of packages, and JSON in which no character can end the element it stands in.
            style=Markup(style),  # noqa: S704
            library=Markup(library),  # noqa: S704
            script=Markup(script),  # noqa: S704
            data=Markup(data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")),  # noqa: S704
            policy=policy(style, library, script, also="connect-src data:"),
        )
    )
    write_text(out_html, page)
    return out_html


def _volumes(pair: ViewedPair) -> list[dict[str, Any]]:
    """Give each volume as base64 of a zipped uint8 NIfTI with its name and range."""
    spacing = np.linalg.norm(np.asarray(pair.affine, float)[:3, :3], axis=0)
    bright = pair.fixed > 0.05 * grey_window(pair.fixed, pair.fixed > pair.fixed.mean(), spacing)[1]
    box = _box(bright, spacing)
    volumes = []
    for role, name, volume in (
        ("fixed", pair.fixed_name, pair.fixed),
        ("registered", pair.moving_name, pair.registered),
    ):
        low, high = grey_window(volume, bright, spacing)
        scaled = np.clip((volume[box] - low) / (high - low) * 255, 0, 255)
        content = _nifti(np.rint(scaled).astype(np.uint8), pair.affine, box, (high - low) / 255, low)
        volumes.append({"role": role, "name": name, "low": low, "high": high, "content": content})
    if pair.determinant is not None:
        logarithm = np.where(bright, np.log(np.maximum(pair.determinant, LOG_FLOOR)), 0.0)
        limit = nice_limit(np.abs(logarithm[bright]))
        scaled = np.rint(np.clip((logarithm[box] / limit + 1) / 2 * LEVELS, 0, LEVELS))
        # Zero is shown clear, which is for the background: no change is the least expansion.
        scaled[(scaled == LEVELS // 2) & bright[box]] += 1
        content = _nifti(scaled.astype(np.uint8), pair.affine, box, 2 * limit / LEVELS, -limit)
        volumes.append({"role": "jacobian", "name": "ln J", "low": -limit, "high": limit, "content": content})
    return volumes


def _box(bright: NDArray[np.bool_], spacing: NDArray[np.floating]) -> tuple[slice, slice, slice]:
    """Frame what is not background, with a margin."""
    parts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(bright.any(axis=others))
        first, last = (int(where[0]), int(where[-1])) if where.size else (0, bright.shape[axis] - 1)
        margin = int(np.ceil(MARGIN_MM / spacing[axis]))
        parts.append(slice(max(first - margin, 0), min(last + margin + 1, bright.shape[axis])))
    return (parts[0], parts[1], parts[2])


def _nifti(
    data: NDArray[np.uint8],
    affine: NDArray[np.floating],
    box: tuple[slice, slice, slice],
    slope: float,
    intercept: float,
) -> str:
    """Pack a part of a grid as base64 of a zipped NIfTI file; value = slope * voxel + intercept."""
    moved = np.array(affine, float)
    moved[:3, 3] += moved[:3, :3] @ [part.start for part in box]
    header = nibabel.Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_data_dtype(np.uint8)
    header.set_zooms(np.linalg.norm(moved[:3, :3], axis=0))
    header.set_sform(moved, ALIGNED)
    header.set_qform(moved, ALIGNED)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["vox_offset"], header["magic"] = 352, b"n+1"
    content = header.binaryblock + bytes(4) + data.tobytes(order="F")
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
