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
from bids_nodereg.options import build_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bids_nodereg.bids.spaces import OutputSpace
    from bids_nodereg.config import RunConfig
    from bids_nodereg.sbatch_script import ArrayJob, Container

MARK = "NODEREG_IN_IMAGE"
"""Variable that the container image sets: the Python in it is of no use outside."""
NOT_READ = {"bids_dir", "output_dir", "work_dir", "bids_database_dir"}
"""Options that are paths, and are no files to read."""


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
    """Files and folders that options name to be read, each once.

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
        If a file is not there.
    """
    folders = tuple(config.derivatives.values())
    named = tuple(_named(words, config))
    for path in (*written_paths(config), *folders, *named):
        if not path.is_absolute():
            raise _not_absolute(path)
    for path in named:
        if not path.exists():
            seen = " that can be seen from this container" if is_in_image() else ""
            msg = f"An option after -- names {path}, and there is no such file{seen}. Check the path."
            raise MissingInputError(msg)
    return tuple(dict.fromkeys((*folders, *named, *_local_templates(config))))


def _named(words: Sequence[str], config: RunConfig) -> Iterator[Path]:
    """Paths to read as they were written, but for derivatives, which the configuration has like that."""
    options = vars(build_parser().parse_args([str(config.bids_dir), "out", "participant", *words]))
    for name, value in options.items():
        if isinstance(value, Path) and name not in NOT_READ:
            yield value
    for word in options["output_spaces"]:
        _, _, files = word.partition("=")
        yield from (Path(text) for text in files.partition(",mask=")[::2] if text)
    places = (*options["participant_label"], *options["session_label"], options["dask_scheduler"] or "")
    yield from (Path(text) for text in places if Path(text).is_file())


def _local_templates(config: RunConfig) -> Iterator[Path]:
    """Files of ``--output-spaces NAME=FILE``, and the brain mask that is found beside one."""
    for space in config.selection.output_spaces:
        if space.path is not None:
            template = local_template(space)
            yield from (image.path for image in template.images)
            if template.mask is not None:
                yield template.mask


def _not_absolute(path: Path) -> UsageError:
    told = f"name it by its absolute path ({path.resolve()})"
    return UsageError(f"{path}: {told}; the program in the container works in another folder.")


@dataclass(frozen=True)
class Templates:
    """Where the tasks find TemplateFlow's templates.

    Attributes
    ----------
    folder
        On this machine, to be bound into the container; None where there is none, or none is needed.
    note
        Which folder serves, and what is amiss; empty where no template is needed, or there is no container.
    """

    folder: Path | None = None
    note: str = ""


def templates_of(container: Container, config: RunConfig) -> Templates:
    """Find the templates that the tasks need, so that one which is lacking is told now.

    A container is to see the folder of ``TEMPLATEFLOW_HOME``, or the client's default, where all templates
    of TemplateFlow that are asked for are whole in it. Otherwise only the image's own are seen: a folder that
    has a part of them would take their place, and without a brain mask the results would be others.

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
    return _bound_templates(public) if public else Templates()


def _bound_templates(spaces: Sequence[OutputSpace]) -> Templates:
    home = template_homes()[0]
    names = ", ".join(space.label for space in spaces)
    if is_in_image():
        note = (
            f"{names}: from {IN_IMAGES} of the image. A folder of your own is bound only where the script is "
            "printed outside the image."
        )
        return Templates(note=note + _what_is_lacking(spaces, IN_IMAGES))
    if home == IN_IMAGES:
        note = (
            f"{names}: from {home} of the image, not of this machine. TEMPLATEFLOW_HOME names another folder."
        )
        return Templates(note=note)
    if is_whole(spaces, home):
        return Templates(home, f"{names}: from {home}{_without_mask(spaces, home)}.")
    note = (
        f"{names}: from {IN_IMAGES} of the image, as not all of it is in {home}. Where it is not there "
        "either, tasks end with 66. Fetch it first (docs/templates.md), or set TEMPLATEFLOW_HOME."
    )
    return Templates(note=note)


def is_whole(spaces: Sequence[OutputSpace], home: Path) -> bool:
    """Whether all templates are in a folder, and no brain mask of them is an empty placeholder there."""
    try:
        return not any(template.notes for template in find_templates(spaces, homes=(home,)))
    except MissingInputError:
        return False


def _without_mask(spaces: Sequence[OutputSpace], home: Path) -> str:
    bare = [each.space for each in find_templates(spaces, homes=(home,)) if each.mask is None]
    return f", where {', '.join(bare)} has no brain mask" if bare else ""


def _what_is_lacking(spaces: Sequence[OutputSpace], home: Path) -> str:
    if is_whole(spaces, home):
        return ""
    return " Not all of it is in this image; tasks in one that lacks it end with 66."


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
