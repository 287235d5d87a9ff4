"""Take the places of this machine out of texts that are shared with the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_nodereg.config import RunConfig


def without_places(text: str, config: RunConfig) -> str:
    """Name the folders of a run by what the command line calls them: ``BIDS_DIR/sub-01/...``.

    Results are shared, and in a container a path is not even that of the machine. The log of the run
    keeps the full paths.
    """
    places = {
        config.bids_dir: "BIDS_DIR",
        config.output_dir: "OUTPUT_DIR",
        **{path.absolute(): name for name, path in config.derivatives.items()},
    }
    for place in sorted(places, key=lambda path: len(path.parts), reverse=True):  # the innermost first
        text = text.replace(f"{place}/", f"{places[place]}/")
    return text
