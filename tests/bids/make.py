"""Tiny BIDS data sets with empty images, for tests that look at names only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bids_nodereg.bids.image import Image, image_from_name

if TYPE_CHECKING:
    from pathlib import Path


def make_dataset(root: Path, *names: str, **description: object) -> Path:
    """Make a data set with an empty file for each BIDS file name, in its ``sub-/[ses-/]anat`` folder."""
    root.mkdir(parents=True, exist_ok=True)
    fields = {"Name": "test", "BIDSVersion": "1.10.0", **description}
    (root / "dataset_description.json").write_text(json.dumps(fields))
    for name in names:
        path = root / relative_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative_path(name: str) -> str:
    """Path below the root of a file of this name."""
    folders = [part for part in name.split("_")[:2] if part.startswith(("sub-", "ses-"))]
    return "/".join([*folders, "anat", name])


def make_images(root: Path, *names: str) -> list[Image]:
    """Records of images that need not exist: no problem is known against them."""
    images = []
    for name in names:
        relative = relative_path(name)
        image = image_from_name(root / relative, relative)
        assert image is not None, name
        path, subject, session = image.path, image.subject, image.session
        images.append(Image(path, relative, subject, session, image.suffix, image.entities))
    return images
