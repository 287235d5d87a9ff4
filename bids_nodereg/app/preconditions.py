"""What a run needs before it begins, and a dry run looks at too: device, extras, and a folder to write to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bids_nodereg.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.config import RunConfig


def check_device(config: RunConfig) -> None:
    """Make sure that the device or the GPUs that were asked for are there, where any were.

    Raises
    ------
    UsageError
        If they are not.
    """
    resources = config.resources
    if resources.executor == "local" and resources.gpus is None and resources.device in {"auto", "cpu"}:
        return  # any machine will do, and torch need not be loaded
    from bids_nodereg.app.device import own_hardware
    from bids_nodereg.app.gpus import with_gpus

    config, _ = with_gpus(config)
    own_hardware(config.resources)


def check_extras(config: RunConfig) -> None:
    """Make sure that what the options need beside the package itself is installed.

    Raises
    ------
    UsageError
        If dask is not, and pairs are to be registered by it.
    MissingInputError
        If NiiVue is not, and pages are to hold it.
    """
    is_to_register = not (config.boilerplate_only or config.reports_only)
    if is_to_register and config.resources.executor == "dask":
        from bids_nodereg.app.dask_cluster import check_dask

        check_dask(is_given=config.resources.dask_scheduler is not None)
    if config.interactive_report:
        from bids_nodereg.quality.viewer import viewer_library

        viewer_library()


def check_may_write(folder: Path) -> None:
    """Make sure that the output folder can be made, or written to where it is there; nothing is made.

    Raises
    ------
    OutputError
        If it cannot.
    """
    there = check_is_folder(folder)
    if os.access(there, os.W_OK | os.X_OK):
        return
    msg = (
        f"OUTPUT_DIR {folder}: user {os.getuid()} may not write to {there} ({_why_not(there)}). Choose "
        'another folder, or change its permissions. In a container, mount it without ":ro", and run as the '
        "user that it belongs to (docker run -u UID:GID)."
    )
    raise OutputError(msg)


def check_is_folder(folder: Path) -> Path:
    """Give the output folder, or where it is not there the nearest one above it.

    Raises
    ------
    OutputError
        If something else has its place.
    """
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if there.is_dir():
        return there
    kind = "a link to nothing" if there.is_symlink() and not there.exists() else "a file"
    msg = f"OUTPUT_DIR {folder}: expected a folder, and {there} is {kind}. Give the path of a folder, which "
    msg += "is made if need be, or move away what is there."
    raise OutputError(msg)


def _why_not(folder: Path) -> str:
    """Say why a folder cannot be written to."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    status = folder.stat()
    return f"it belongs to user {status.st_uid}, with permissions {status.st_mode & 0o7777:o}"
