"""What the container of a task needs: its image, and the files and folders that it is to see."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.bids.templateflow import IN_IMAGES, find_templates, template_homes
from bids_nodereg.bids.templates import local_template
from bids_nodereg.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bids_nodereg.bids.spaces import OutputSpace
    from bids_nodereg.config import RunConfig
    from bids_nodereg.sbatch_script import ArrayJob, Container

MARK = "NODEREG_IN_IMAGE"
"""Variable that the container image sets: the Python in it is of no use outside."""


def is_in_image() -> bool:
    """Whether this very program runs in its container image, where little of the machine can be seen."""
    return bool(os.environ.get(MARK))


def image_of(container: Container, image: str) -> str:
    """Name the image so that every task finds it, wherever it runs.

    Parameters
    ----------
    container
        What runs it.
    image
        As given: for Apptainer a file, or the folder of a sandbox, or a name with ``://``; for Docker a name.

    Returns
    -------
    str
        The absolute path of what is a path.

    Raises
    ------
    UsageError
        If the file is not there. An absolute path is taken as it is in a container, which may not see it.
    """
    if {"\n", "\r"} & set(image):
        msg = f"--image {image!r}: a line break cannot be in the name of an image. Leave it out."
        raise UsageError(msg)
    if container != "apptainer" or "://" in image:
        return image
    path = Path(image)
    if not path.exists() and not (is_in_image() and path.is_absolute()):
        seen = " that can be seen from this container" if is_in_image() else ""
        msg = (
            f"--image {image}: there is no {path.absolute()}{seen}. Give the absolute path of the file, "
            "build it first (docs/containers.md), or give a name with ://, such as docker://REGISTRY/NAME."
        )
        raise UsageError(msg)
    return str(path.absolute())


def written_paths(config: RunConfig) -> tuple[Path, ...]:
    """Folders of the options that a run writes to, which need not be there yet."""
    return () if config.bids_database_dir is None else (config.bids_database_dir,)


def read_paths(words: Sequence[str], config: RunConfig) -> tuple[Path, ...]:
    """Files and folders that options name to be read, alone or after an equals sign, each once.

    Parameters
    ----------
    words
        The options.
    config
        What they mean.

    Raises
    ------
    UsageError
        If one is not absolute: a container has another working folder.
    MissingInputError
        If a file of ``--output-spaces`` is not there.
    """
    written = written_paths(config)
    for path in (*written, *config.derivatives.values()):
        if not path.is_absolute():
            raise _not_absolute(str(path), path)
    named = _named(words, written)
    return tuple(dict.fromkeys((*config.derivatives.values(), *named, *_local_templates(config))))


def _named(words: Sequence[str], written: Sequence[Path]) -> Iterator[Path]:
    for word in words:
        for piece in re.split(r"[=,]", word):
            path = Path(piece)
            if piece.startswith("-") or not piece or path in written or not path.exists():
                continue
            if path.is_absolute():
                yield path
            elif path.is_file() or "/" in piece:
                raise _not_absolute(word, path)


def _local_templates(config: RunConfig) -> Iterator[Path]:
    """Files of ``--output-spaces NAME=FILE``, and the brain mask that is found beside one."""
    for space in config.selection.output_spaces:
        if space.path is not None:
            template = local_template(space)
            yield from (image.path for image in template.images)
            if template.mask is not None:
                yield template.mask


def _not_absolute(word: str, path: Path) -> UsageError:
    told = f"name it by its absolute path ({path.resolve()})"
    return UsageError(f"{word}: {told}; the program in the container works in another folder.")


@dataclass(frozen=True)
class Templates:
    """Where the tasks find TemplateFlow's templates.

    Attributes
    ----------
    folder
        On this machine, to be bound into the container; None where there is none, or none is needed.
    note
        What the user is to know; empty when all is well.
    """

    folder: Path | None = None
    note: str = ""


def templates_of(container: Container, config: RunConfig) -> Templates:
    """Find the templates that the tasks need, so that one which is lacking is told now.

    A container is to see the folder of ``TEMPLATEFLOW_HOME``, or the client's default, where that is there
    and a template of TemplateFlow is asked for. The image's own folder is looked in after it in any case.

    Raises
    ------
    MissingInputError
        If a template is not there and the tasks have no image that could hold it.
    UsageError
        If tasks in a container are to fetch templates.
    """
    spaces = config.selection.output_spaces
    if container == "none":
        if not config.fetch_templates:
            find_templates(spaces)
        return Templates()
    if config.fetch_templates:
        msg = (
            "--fetch-templates does not go with --container: there, templates can only be read. Fetch them "
            "first (docs/templates.md), and leave the option out."
        )
        raise UsageError(msg)
    public = [space for space in spaces if space.path is None]
    home = template_homes()[0]
    is_bound = bool(public) and home != IN_IMAGES and home.is_dir()
    return Templates(home if is_bound else None, _note(public, home))


def _note(spaces: Sequence[OutputSpace], home: Path) -> str:
    try:
        find_templates(spaces, homes=(home,))
    except MissingInputError:
        names = ", ".join(space.label for space in spaces)
        return (
            f"{names}: not all of it is in {home}, so tasks look in the image ({IN_IMAGES}). Where it is not "
            "there either, they end with 66. Fetch it first (docs/templates.md), or set TEMPLATEFLOW_HOME."
        )
    return ""


def refuse_strange_paths(job: ArrayJob) -> None:
    """Refuse paths that a script or a container engine takes for something else.

    Raises
    ------
    UsageError
        If there is one.
    """
    strange = "\n\r" if job.container == "none" else "\n\r:,"
    said = re.sub(r'^"\$\{[^}]*\}"', "", job.work_dir)  # what the variable before it holds is not known yet
    templates = () if job.templates is None else (job.templates,)
    for path in (job.bids_dir, job.output_dir, *job.paths, *job.writable, *templates, said):
        if any(character in str(path) for character in strange):
            msg = (
                f"{str(path)!r}: a line break, and with a container a colon or a comma, cannot be in a path. "
                "Give the folder another name, or a link to it."
            )
            raise UsageError(msg)
