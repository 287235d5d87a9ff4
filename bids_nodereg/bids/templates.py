"""A template: the images that others are brought to, found by path alone.

A template of TemplateFlow is looked for in its folders (:mod:`bids_nodereg.bids.templateflow`); a local
one is what the user names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.bids.image import CONTRASTS, Image
from bids_nodereg.errors import MissingInputError

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.bids.spaces import OutputSpace

TEMPLATEFLOW_LINK = "https://github.com/templateflow/templateflow"
"""Where TemplateFlow is, as fMRIPrep's derivatives tell it."""

DEFAULT_CONTRAST = "T1w"
BRAIN_MASK = "desc-brain_mask"


@dataclass(frozen=True)
class TemplateGrid:
    """A grid of the template's space that images are written on.

    Attributes
    ----------
    res
        Label of ``res-`` in the names of the outputs; empty for none.
    path
        An image that has this grid; None for the image that is registered onto.
    uri
        BIDS URI of that image; empty with it.
    """

    res: str = ""
    path: Path | None = None
    uri: str = ""


@dataclass(frozen=True)
class Template:
    """What is known of one output space.

    Attributes
    ----------
    space
        Label of the space in file names.
    images
        One image a contrast, T1w first; ``subject`` is empty and ``dataset`` names where it is from.
    mask
        Brain mask in the same world, or None.
    grids
        Grids to write on, at least one.
    folder_uri
        Start of the BIDS URIs of all files of this template.
    folder
        Folder of a local template; None for one of TemplateFlow.
    title, licence
        What its description says, for provenance; may be empty.
    notes
        Remarks for the user, such as a file that has not been fetched.
    """

    space: str
    images: tuple[Image, ...]
    mask: Path | None
    grids: tuple[TemplateGrid, ...]
    folder_uri: str
    folder: Path | None = None
    title: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Name of the template's data set in BIDS URIs."""
        return self.images[0].dataset

    def image_for(self, suffix: str) -> Image:
        """The image to register a contrast onto: its own contrast where there is one, else the T1w."""
        return next((image for image in self.images if image.suffix == suffix), self.images[0])


def local_template(space: OutputSpace) -> Template:
    """Describe a template that is a file of the user's own.

    A brain mask beside it is taken when its name is that of the image with ``desc-brain_mask`` in place
    of the contrast: ``study_T1w.nii.gz`` and ``study_desc-brain_mask.nii.gz``.

    Raises
    ------
    MissingInputError
        If a file that was named is not there.
    """
    assert space.path is not None  # noqa: S101 - for the type checker: the caller has looked
    for path in (space.path, space.mask):
        if path is not None and not path.is_file():
            msg = f"--output-spaces {space.name}: {path} is not there. Check the path; is the volume mounted?"
            raise MissingInputError(msg)
    suffix = space.path.name.partition(".")[0].rpartition("_")[2]
    image = Image(
        path=space.path,
        relative=space.path.name,
        subject="",
        session=None,
        suffix=suffix if suffix in CONTRASTS else DEFAULT_CONTRAST,
        dataset=space.name,
    )
    return Template(
        space=space.label,
        images=(image,),
        mask=space.mask or _mask_beside(space.path),
        grids=(TemplateGrid(),),
        folder_uri=f"bids:{space.name}:",
        folder=space.path.parent,
    )


def _mask_beside(path: Path) -> Path | None:
    stem, _, extension = path.name.partition(".")
    lead, _, suffix = stem.rpartition("_")
    lead = lead if lead and suffix in CONTRASTS else stem
    lead = lead.removesuffix("_desc-brain")
    beside = path.with_name(f"{lead}_{BRAIN_MASK}.{extension}")
    return beside if beside.is_file() else None
