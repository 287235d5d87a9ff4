"""JSON sidecars of what is written, as plain dictionaries ready for :func:`bids_nodereg.files.write_json`.

Keys are BIDS' own where it has one. What only the run knows (settings, times, devices, checksums)
comes in as ``details``, with CamelCase keys, and may not replace what is told here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.extras import Extra
    from bids_nodereg.bids.image import LabelMap
    from bids_nodereg.bids.pairs import Pair

Sidecar = dict[str, Any]

KEPT_OF_EXTRAS = ("SkullStripped", "Type", "Manual", "Atlas", "LabelMap", "Units")
"""What stays true of a file on another grid."""

MASK_TYPES = {"brain": "Brain", "lesion": "Lesion", "face": "Face", "roi": "ROI"}
"""BIDS' word for the type of a mask, by its label or description."""


def warped_sidecar(
    pair: Pair,
    outputs: Outputs,
    *,
    skull_stripped: bool,
    interpolation: str,
    details: Mapping[str, Any] | None = None,
) -> Sidecar:
    """Describe the moving image on the fixed grid; BIDS requires to say whether it is skull-stripped."""
    own: Sidecar = {
        "Description": f"{pair.moving.suffix} image resampled once onto the grid of the {_fixed_name(pair)}",
        "SkullStripped": skull_stripped,
        "Sources": [pair.moving.uri, outputs.uri(outputs.forward_h5)],
        "Interpolation": interpolation,
        **_reference(pair, outputs),
    }
    return _merge(own, details)


def labels_sidecar(
    pair: Pair, outputs: Outputs, labels: LabelMap, *, details: Mapping[str, Any] | None = None
) -> Sidecar:
    """Describe a label map of the moving image that was carried onto the fixed grid."""
    own = {
        "Description": f"Labels of the {pair.moving.suffix} image on the grid of the {_fixed_name(pair)}",
        "Sources": [labels.uri, outputs.uri(outputs.forward_h5)],
        "Interpolation": "linear per label, then the label with the largest share",
        **_reference(pair, outputs),
    }
    return _merge(own, details)


def extra_sidecar(
    pair: Pair, outputs: Outputs, extra: Extra, *, skull_stripped: bool, interpolation: str
) -> Sidecar:
    """Describe another file of the moving image that was carried onto the fixed grid.

    What its own sidecar says of :data:`KEPT_OF_EXTRAS` is taken over; ``skull_stripped`` is said of an
    image where that does not say it.
    """
    told = extra.told()
    own: Sidecar = {
        "Description": f"{extra.path.name} of the {pair.moving.suffix} image on the grid of the "
        f"{_fixed_name(pair)}",
        "Sources": [extra.uri, outputs.uri(outputs.forward_h5)],
        "Interpolation": interpolation,
        **_reference(pair, outputs),
        **{key: told[key] for key in KEPT_OF_EXTRAS if key in told},
    }
    if extra.kind == "image" and not isinstance(own.get("SkullStripped"), bool):
        own["SkullStripped"] = skull_stripped
    label = (extra.name.get("label") or extra.desc).lower()
    if extra.kind == "mask" and label in MASK_TYPES:
        own.setdefault("Type", MASK_TYPES[label])
    return own


def transform_sidecar(
    pair: Pair, outputs: Outputs, *, inverse: bool = False, details: Mapping[str, Any] | None = None
) -> Sidecar:
    """Describe the forward transform, or the inverse one, of a pair."""
    image, reference = (pair.fixed, pair.moving) if inverse else (pair.moving, pair.fixed)
    labels = (outputs.to_label, outputs.from_label) if inverse else (outputs.from_label, outputs.to_label)
    other = outputs.forward_h5 if inverse else outputs.inverse_h5
    lesions = (pair.fixed_lesion, pair.moving_lesion)
    own = {
        "Description": f"ITK composite transform that resamples {labels[0]} onto the grid of {labels[1]}",
        "Sources": [image.uri, reference.uri, *(each.uri for each in lesions if each is not None)],
        "SpatialReference": reference.uri,
        "FromSpace": labels[0],
        "ToSpace": labels[1],
        "Direction": "inverse" if inverse else "forward",
        "Convention": "pull: takes points of ToSpace to points of FromSpace; ITK coordinates (LPS+ mm)",
        "Units": "mm",
        "Invertible": True,
        "InverseTransform": outputs.uri(other),
        "PairRule": pair.rule,
    }
    return _merge(own, details)


def jacobian_sidecar(pair: Pair, outputs: Outputs, *, details: Mapping[str, Any] | None = None) -> Sidecar:
    """Describe the map of Jacobian determinants."""
    own = {
        "Description": "Determinant of the spatial derivative of the forward transform: local volume of the "
        f"moving image per volume of the {_fixed_name(pair)}, that of the affine part included; 1 is no "
        f"change, 0 or less a fold{_change(pair)}",
        "Sources": [outputs.uri(outputs.forward_h5)],
        "SpatialReference": pair.fixed.uri,
        "Units": "1",
    }
    return _merge(own, details)


def logjacobian_sidecar(pair: Pair, outputs: Outputs, *, floor: float) -> Sidecar:
    """Describe the logarithm of the Jacobian determinants, which were raised to ``floor`` before."""
    return {
        "Description": "Natural logarithm of the determinant of the spatial derivative of the forward "
        f"transform, determinants below {floor:g} taken as {floor:g}: 0 is no change of volume, and growth "
        f"and shrinkage by one factor are of one size{_change(pair)}",
        "Sources": [outputs.uri(outputs.forward_h5)],
        "SpatialReference": pair.fixed.uri,
        "Floor": floor,
        "Units": "1",
    }


def velocity_sidecar(pair: Pair, outputs: Outputs, *, part: int = 1, parts: int = 1) -> Sidecar:
    """Describe the velocity field, or that of one part of the time, numbered from 1."""
    times = [(part - 1) / parts, part / parts]
    what = (
        "Stationary velocity field v"
        if parts == 1
        else f"Velocity field v from time {times[0]:g} to {times[1]:g}; at other times it is another"
    )
    return {
        "Description": f"{what}. The flow d phi/dt = v(phi), phi(0) = identity, at time 1 is x + u(x) with "
        "the displacement u of the forward transform (desc-warp); the affine is not in it. Vectors are "
        "interpolated linearly.",
        "Sources": [outputs.uri(outputs.warp_nii)],
        "SpatialReference": pair.fixed.uri,
        "Stationary": parts == 1,
        "TimeInterval": times,
        "Convention": "vectors in LPS+ mm at the points of the fixed world, as those of desc-warp",
        "Units": "mm per unit time",
    }


def template_told(pair: Pair) -> Sidecar:
    """Say which template a pair went to and under which licence; nothing where it went to none."""
    template = pair.template
    if template is None:
        return {}
    told = {"Space": template.space, "Name": template.title, "License": template.licence}
    return {"Template": {key: value for key, value in told.items() if value}}


def _reference(pair: Pair, outputs: Outputs) -> Sidecar:
    """Say on which grid an image in the fixed space lies; BIDS wants ``res-`` explained."""
    res = outputs.resolutions[0]
    grids = () if pair.template is None or not res else pair.template.grids
    grid = next((grid for grid in grids if grid.res == res), None)
    if grid is None:
        return {"SpatialReference": pair.fixed.uri}
    return {"SpatialReference": grid.uri, "Resolution": f"Grid {res} of the template {outputs.to_label}"}


def _change(pair: Pair) -> str:
    """What the Jacobian says of a person's change in time; nothing for other pairs."""
    if pair.rule != "longitudinal":
        return ""
    sessions = f"session {pair.fixed.session} (fixed) to session {pair.moving.session} (moving)"
    return f". From {sessions} tissue has expanded where this is above that value and shrunk where below"


def _fixed_name(pair: Pair) -> str:
    if pair.template is not None:
        return f"template {pair.template.space}"
    return f"{pair.fixed.suffix} image of sub-{pair.fixed.subject}"


def _merge(own: Sidecar, details: Mapping[str, Any] | None) -> Sidecar:
    repeated = own.keys() & (details or {}).keys()
    if repeated:
        msg = f"sidecar details may not replace {', '.join(sorted(repeated))}"
        raise ValueError(msg)
    return {**own, **(details or {})}
