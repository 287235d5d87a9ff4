"""JSON sidecars of what is written, as plain dictionaries ready for :func:`bids_nodereg.files.write_json`.

Keys are BIDS' own where it has one. What only the run knows (settings, times, devices, checksums)
comes in as ``details``, with CamelCase keys, and may not replace what is told here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.image import LabelMap
    from bids_nodereg.bids.pairs import Pair

Sidecar = dict[str, Any]


def warped_sidecar(
    pair: Pair,
    outputs: Outputs,
    *,
    skull_stripped: bool,
    interpolation: str,
    details: Mapping[str, Any] | None = None,
) -> Sidecar:
    """Describe the moving image on the fixed grid; BIDS requires to say whether it is skull-stripped."""
    own = {
        "Description": f"{pair.moving.suffix} image resampled once onto the grid of the {_fixed_name(pair)}",
        "SkullStripped": skull_stripped,
        "Sources": [pair.moving.uri, outputs.uri(outputs.forward_h5)],
        "SpatialReference": pair.fixed.uri,
        "Interpolation": interpolation,
    }
    return _merge(own, details)


def labels_sidecar(
    pair: Pair, outputs: Outputs, labels: LabelMap, *, details: Mapping[str, Any] | None = None
) -> Sidecar:
    """Describe a label map of the moving image that was carried onto the fixed grid."""
    own = {
        "Description": f"Labels of the {pair.moving.suffix} image on the grid of the {_fixed_name(pair)}",
        "Sources": [labels.uri, outputs.uri(outputs.forward_h5)],
        "SpatialReference": pair.fixed.uri,
        "Interpolation": "linear per label, then the label with the largest share",
    }
    return _merge(own, details)


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
        f"moving image per volume of the {_fixed_name(pair)}; 1 is none, 0 or less a fold",
        "Sources": [outputs.uri(outputs.forward_h5)],
        "SpatialReference": pair.fixed.uri,
        "Units": "1",
    }
    return _merge(own, details)


def _fixed_name(pair: Pair) -> str:
    return f"{pair.fixed.suffix} image of sub-{pair.fixed.subject}"


def _merge(own: Sidecar, details: Mapping[str, Any] | None) -> Sidecar:
    repeated = own.keys() & (details or {}).keys()
    if repeated:
        msg = f"sidecar details may not replace {', '.join(sorted(repeated))}"
        raise ValueError(msg)
    return {**own, **(details or {})}
