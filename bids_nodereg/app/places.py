"""Take the places of this machine out of texts that are shared with the results."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bids_nodereg.bids.templateflow import template_homes

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.config import RunConfig


def without_places(text: str, config: RunConfig) -> str:
    """Name the folders of a run by what the command line calls them: ``BIDS_DIR/sub-01/...``.

    A folder of a local template is called by the template's name. Results are shared, and in a container
    a path is not even that of the machine. The log of the run keeps the full paths.
    """
    places = _places(config)
    for place in sorted(places, key=lambda path: len(path.parts), reverse=True):  # the innermost first
        whole = rf"(?<![\w.+-]){re.escape(str(place))}(?![\w+-]|\.\w)"  # /data/raw2 is not in /data/raw
        text = re.sub(whole, lambda _: places[place], text)  # noqa: B023 - called at once
    return text


def _places(config: RunConfig) -> dict[Path, str]:
    """Folders of a run, absolute, and what they are called; where two names fit, the last counts."""
    local = {
        path.parent: space.name
        for space in config.selection.output_spaces
        for path in (space.mask, space.path)
        if path is not None and path.parent != path.parent.parent  # the root is in every path
    }
    return {
        **local,
        template_homes()[0]: "TEMPLATEFLOW_HOME",
        **{path.absolute(): name for name, path in config.derivatives.items()},
        config.bids_dir: "BIDS_DIR",
        config.output_dir: "OUTPUT_DIR",
    }
