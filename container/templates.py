"""Fetch templates while the image is built: ``python templates.py NAME...``; without names, none.

T1w, T2w where there is one, and brain masks, at 1 and 2 mm, into ``TEMPLATEFLOW_HOME``. Without a network the
image is built without them, and a line says so. A template whose licence is not known to allow everybody to
pass it on ends the build.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLUTIONS = (1, 2)
KINDS = (("T1w", None), ("T2w", None), ("mask", "brain"))
PERMISSION = (
    "permission to use, copy, modify, and distribute this software and its documentation for any purpose "
    "and without fee is hereby granted"
)
"""What the licence of the MNI templates says; it must stand in the template's own LICENSE file."""


def is_free(licence: str) -> bool:
    """Whether a licence text grants what is needed to ship a template.

    Examples
    --------
    >>> is_free("(C) MNI. " + PERMISSION.capitalize() + ", provided ..."), is_free("All rights reserved")
    (True, False)
    """
    return PERMISSION in " ".join(licence.split()).lower()


def check_licence(folder: Path) -> None:
    """End the build where a template may not be shipped, or nobody has looked whether it may."""
    path = folder / "LICENSE"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not is_free(text):
        sys.exit(
            f"templates: {path}: the licence is not one that is known to allow shipping the template in an "
            "image. Leave it out of TEMPLATES, and mount it at run time."
        )


def fetched(api: Any, name: str) -> Iterator[Path]:
    """Files of a template, fetched one after the other; what a template does not have is left out."""
    for suffix, desc in KINDS:
        for resolution in RESOLUTIONS:
            answer = api.get(
                name, suffix=suffix, desc=desc, resolution=resolution, atlas=None, extension=".nii.gz"
            )
            yield from map(Path, answer if isinstance(answer, list) else [answer])


def digest(path: Path) -> str:
    """SHA-256 of a file, which must be whole: gzip's own checksum is compared.

    Raises
    ------
    EOFError, OSError
        If it is cut or no gzip file.
    """
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(api: Any, home: Path, name: str) -> list[str]:
    """Fetch a template and describe its files, one line each; all of them or none.

    Parameters
    ----------
    api
        ``templateflow.api``, or what answers like it.
    home
        Folder that it fetches to.
    name
        As TemplateFlow calls it.

    Returns
    -------
    list
        Empty where the files could not be fetched; those that were are then empty again, as the client lays
        them out.
    """
    check_licence(home / f"tpl-{name}")
    paths: list[Path] = []
    try:
        for path in fetched(api, name):
            paths.append(path)
            if not path.is_file() or not path.stat().st_size:
                msg = f"{path.name} did not come"
                raise OSError(msg)
        return [f"{digest(path)}  {path.relative_to(home)}" for path in paths]
    except Exception as error:  # noqa: BLE001 # the client's and its libraries' errors have no parent in common
        sys.stdout.write(
            f"templates: SKIPPED {name}: it could not be fetched ({type(error).__name__}). The image comes "
            "without it; mount a folder with templates at /opt/templateflow, or build it again where there "
            "is a network.\n"
        )
        for path in home.glob(f"tpl-{name}/*.nii.gz"):
            path.write_bytes(b"")
        return []


def main(names: list[str]) -> None:
    """Lay out the client's folder, and fetch."""
    import templateflow
    from templateflow import api

    home = Path(templateflow.conf.TF_HOME)
    for name in names:
        for line in fetch(api, home, name):
            sys.stdout.write(f"templates: {line}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
