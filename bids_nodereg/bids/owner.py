"""Whose are the files that have a name already: told by the sidecars of an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.bids.derivatives import Outputs, Owner
    from bids_nodereg.bids.pairs import Pair

    Told = tuple[str, str, str | None]


def owner_on_disk(pair: Pair, outputs: Outputs) -> Owner:
    """Say to whom the files of a name belong, by the two images that their sidecars tell.

    Three sidecars are asked, because two pairs may share the names of some files only, and what is
    one pair's forward transform may have the name of another's inverse. A sidecar that is not there
    or cannot be read belongs to nobody.
    """
    fixed, moving = _same_space(pair.fixed.uri, pair), pair.moving.uri
    expected = {
        outputs.forward_json: (moving, fixed, "forward"),
        outputs.inverse_json: (fixed, moving, "inverse"),
        outputs.warped_json: (moving, fixed, None),
    }
    found = {path: _in_short(_told_by(path), pair) for path in expected}
    present = [path for path, told in found.items() if told is not None]
    if not present:
        return "nobody"
    is_own = all(_agree(found[path], expected[path]) for path in present)
    return "this pair" if is_own else "another pair"


def _in_short(told: Told | None, pair: Pair) -> Told | None:
    return None if told is None else (_same_space(told[0], pair), _same_space(told[1], pair), told[2])


def _same_space(uri: str, pair: Pair) -> str:
    """Make all files of the pair's template one: which of them was used may change, the space stays."""
    folder = None if pair.template is None else pair.template.folder_uri
    return folder if folder is not None and uri.startswith(folder) else uri


def _agree(told: Told | None, expected: Told) -> bool:
    return told is not None and told[:2] == expected[:2] and told[2] in {None, expected[2]}


def _told_by(path: Path) -> Told | None:
    """Image that was resampled, image it went onto, and direction of the transform."""
    try:
        sidecar = read_json(path)
        return (sidecar["Sources"][0], sidecar["SpatialReference"], sidecar.get("Direction"))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
