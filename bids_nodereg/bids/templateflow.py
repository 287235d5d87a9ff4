"""The door to TemplateFlow, offline first: files are looked for by path, the client is the last resort.

TemplateFlow's client fills its folder with empty files under the right names and fetches the contents
when asked. So a file counts as there when it has contents, and an empty one tells its right name.
Importing the client writes to its folder and asking it may contact a server; neither happens unless the
user allows it (``--fetch-templates``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from bids_nodereg.bids.image import Image, long_entities
from bids_nodereg.bids.names import IMAGE_EXTENSIONS, parse_name
from bids_nodereg.bids.spaces import TEMPLATEFLOW
from bids_nodereg.bids.templates import DEFAULT_CONTRAST, Template, TemplateGrid, local_template
from bids_nodereg.errors import MissingInputError, UsageError
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bids_nodereg.bids.names import FileName
    from bids_nodereg.bids.spaces import OutputSpace

IN_IMAGES = Path("/opt/templateflow")
"""Where container images keep templates, whatever HOME is."""

HEAD_OR_BRAIN = (None, "brain")
CONTRASTS_SOUGHT = (DEFAULT_CONTRAST, "T2w")
PREFERRED_RES = 1
"""``res-`` is an index, not a size: 1 is a template's usual resolution, others may be finer or coarser."""


def find_templates(
    spaces: Sequence[OutputSpace], *, homes: Sequence[Path] | None = None, fetch: bool = False
) -> tuple[Template, ...]:
    """Find the files of all output spaces.

    Parameters
    ----------
    spaces
        What the user asked for.
    homes
        Folders to look in; None for :func:`template_homes`.
    fetch
        Whether TemplateFlow's client may be asked for what is not there, over the network.

    Raises
    ------
    MissingInputError
        If a template is not there; the message names the file and how to get it.
    UsageError
        If two output spaces are one file.
    """
    folders = tuple(homes) if homes is not None else template_homes()
    templates = tuple(
        _find_or_fetch(space, folders, fetch=fetch) if space.path is None else local_template(space)
        for space in spaces
    )
    _refuse_two_names(templates)
    return templates


def _refuse_two_names(templates: Sequence[Template]) -> None:
    """Refuse one file under two names: a pair is known by its files, so the second would be dropped."""
    names: dict[Path, str] = {}
    for template in templates:
        path = template.images[0].path
        first = names.setdefault(path, template.space)
        if first != template.space:
            msg = (
                f"--output-spaces: {first} and {template.space} are the same file, {path}. "
                "Name it once; two names are two registrations onto one image."
            )
            raise UsageError(msg)


def template_homes() -> tuple[Path, ...]:
    """Folders that may hold templates: ``TEMPLATEFLOW_HOME`` or the client's default, then ``/opt``."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "templateflow"
    home = Path(os.environ.get("TEMPLATEFLOW_HOME") or default).absolute()
    return (home,) if home == IN_IMAGES else (home, IN_IMAGES)


@dataclass(frozen=True)
class _File:
    """A file of a template, there or only known by name."""

    home: Path
    path: Path
    name: FileName

    @property
    def is_there(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size > 0

    @property
    def res(self) -> int | None:
        """Index of the resolution; None where the name has none."""
        text = self.name.get("res")
        return int(text) if text is not None and text.isdecimal() else None

    @property
    def relative(self) -> str:
        return self.path.relative_to(self.home).as_posix()

    @property
    def uri(self) -> str:
        return f"bids:{TEMPLATEFLOW}:{quote(self.relative)}"

    def is_kind(self, suffix: str, descs: Sequence[str | None]) -> bool:
        """Whether it is a whole image (or mask) of this suffix, with one of the descriptions."""
        plain = {key for key, _ in self.name.entities} <= {"tpl", "cohort", "res", "desc"}
        return plain and self.name.suffix == suffix and self.name.get("desc") in descs


def _find_or_fetch(space: OutputSpace, homes: Sequence[Path], *, fetch: bool) -> Template:
    found = _find(space, homes)
    if fetch and (found is None or found.notes):
        _fetch(space, homes[0])
        found = _find(space, homes)
    if found is None:
        raise MissingInputError(_message(space, _missing(space, homes[0])[0], homes, fetch=fetch))
    return found


def _find(space: OutputSpace, homes: Sequence[Path]) -> Template | None:
    """Take the template from the first folder that has all of it; None where no folder has."""
    complete = (home for home in homes if not _missing(space, home))
    return next((_assemble(space, home) for home in complete), None)


def _missing(space: OutputSpace, home: Path) -> list[_File]:
    """Files that are needed and not there: an image to register onto, and one of each resolution."""
    files = [file for file in _files(home, space) if file.is_kind(DEFAULT_CONTRAST, HEAD_OR_BRAIN)]
    there = [file for file in files if file.is_there]
    needed = [int(res) for res in space.resolutions if res]
    absent = [res for res in needed if all(file.res != res for file in there)]
    if not there and not absent:
        absent = [PREFERRED_RES]
    return [_name_of(space, [file for file in files if file not in there], res, home) for res in absent]


def _name_of(space: OutputSpace, placeholders: Sequence[_File], res: int, home: Path) -> _File:
    """Name of a file that is not there: that of an empty one, else as TemplateFlow would name it."""
    known = [file for file in placeholders if file.res in {res, None}]
    if known:
        return min(known, key=_preference)
    cohort = "" if space.cohort is None else f"_cohort-{space.cohort}"
    text = f"tpl-{space.name}{cohort}_res-{res:02d}_{DEFAULT_CONTRAST}.nii.gz"
    name = parse_name(text)
    assert name is not None  # noqa: S101 - for the type checker: it was made so
    return _File(home, _folder(home, space) / text, name)


def _assemble(space: OutputSpace, home: Path) -> Template:
    """Choose among the files that are there."""
    files = [file for file in _files(home, space) if file.is_there]
    images = list(_chosen_images(files))
    masks = sorted((file for file in files if file.is_kind("mask", ("brain",))), key=_preference)
    alike = [file for file in masks if file.res == images[0].res]
    unfetched = _mask_to_fetch(space, home)
    title, licence = _description(home / f"tpl-{space.name}")
    return Template(
        space=space.label,
        images=tuple(_image(file) for file in images),
        mask=next((file.path for file in [*alike, *masks]), None),
        grids=tuple(_grid(files, res) for res in space.resolutions),
        folder_uri=f"bids:{TEMPLATEFLOW}:tpl-{space.name}/",
        title=title,
        licence=licence,
        notes=() if unfetched is None else (_mask_note(space, unfetched),),
    )


def _mask_to_fetch(space: OutputSpace, home: Path) -> _File | None:
    """Brain mask that is only known by name, where none is there."""
    masks = [file for file in _files(home, space) if file.is_kind("mask", ("brain",))]
    return None if any(file.is_there for file in masks) else min(masks, key=_preference, default=None)


def _chosen_images(files: Sequence[_File]) -> Iterator[_File]:
    """One image of each contrast, T1w first."""
    for suffix in CONTRASTS_SOUGHT:
        own = [file for file in files if file.is_kind(suffix, HEAD_OR_BRAIN)]
        if own:
            yield min(own, key=_preference)


def _preference(file: _File) -> tuple[bool, int, bool, str]:
    """``res-1`` first, then by index; the head before the brain, since a mask says where that is."""
    res = PREFERRED_RES if file.res is None else file.res
    return (res != PREFERRED_RES, res, file.name.get("desc") is not None, file.path.name)


def _grid(files: Sequence[_File], res: str) -> TemplateGrid:
    if not res:
        return TemplateGrid()
    own = [file for file in files if file.is_kind(DEFAULT_CONTRAST, HEAD_OR_BRAIN) and file.res == int(res)]
    file = min(own, key=_preference)
    return TemplateGrid(res, file.path, file.uri)


def _image(file: _File) -> Image:
    return Image(
        path=file.path,
        relative=file.relative,
        subject="",
        session=None,
        suffix=file.name.suffix,
        entities=long_entities(file.name),
        dataset=TEMPLATEFLOW,
    )


def _folder(home: Path, space: OutputSpace) -> Path:
    """Folder of a template's files; those of a cohort have one of their own."""
    root = home / f"tpl-{space.name}"
    return root if space.cohort is None else root / f"cohort-{space.cohort}"


def _files(home: Path, space: OutputSpace) -> Iterator[_File]:
    folder = _folder(home, space)
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        name = parse_name(path.name)
        if name is not None and name.extension in IMAGE_EXTENSIONS and name.get("cohort") == space.cohort:
            yield _File(home, path, name)


def _description(folder: Path) -> tuple[str, str]:
    """Name and licence that the template's description gives; empty where it gives none."""
    try:
        content = read_json(folder / "template_description.json")
        return str(content.get("Name", "")), str(content.get("License", ""))
    except (OSError, ValueError, AttributeError):
        return "", ""


def _query(space: OutputSpace, file: _File) -> dict[str, str | int | None]:
    """Arguments of the client's ``get`` that name one file."""
    query: dict[str, str | int | None] = {"suffix": file.name.suffix, "desc": file.name.get("desc")}
    # a name of our own making has a resolution that the template need not have
    if file.res is not None and (file.path.is_file() or str(file.res) in space.resolutions):
        query["resolution"] = file.res
    if space.cohort is not None:
        query["cohort"] = space.cohort
    return query


def _mask_query(space: OutputSpace, file: _File) -> dict[str, str | int | None]:
    """Arguments that name the brain mask of an image's resolution."""
    return {**_query(space, file), "suffix": "mask", "desc": "brain"}


def _fetch(space: OutputSpace, home: Path) -> None:
    """Let TemplateFlow's client fetch what is not there: images, each with its brain mask.

    The client is imported first, because it then fills its folder with empty files, and only those tell
    whether the names of a template have a ``res-``.
    """
    try:
        from templateflow import api
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        msg = (
            f"--fetch-templates: TemplateFlow's client does not start ({reason}). Is it installed, "
            f"and can {home} be written?"
        )
        raise MissingInputError(msg) from error
    for file in _missing(space, home):
        _ask(api.get, space, file, _query(space, file), _mask_query(space, file))
    mask = _mask_to_fetch(space, home)
    if mask is not None:
        _ask(api.get, space, mask, _query(space, mask))


def _ask(
    get: Callable[..., object], space: OutputSpace, file: _File, *queries: Mapping[str, str | int | None]
) -> None:
    try:
        for query in queries:
            get(space.name, **query)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        msg = (
            f"--fetch-templates: TemplateFlow could not fetch {file.relative} ({reason}). Is there a "
            f"network, does the template exist, and can {file.home} be written?"
        )
        raise MissingInputError(msg) from error


def _message(space: OutputSpace, file: _File, homes: Sequence[Path], *, fetch: bool) -> str:
    command = _command(space, _query(space, file), _mask_query(space, file))
    others = "".join(f", nor in {home}" for home in homes[1:])
    how = "It was asked for (--fetch-templates) and did not come" if fetch else "No server is asked for it"
    return (
        f"--output-spaces {space.name}: the template's file {file.path} is not there{others}. {how}. Fetch "
        f"it where there is a network, {command}, set TEMPLATEFLOW_HOME to its folder, or run with "
        "--fetch-templates (a dry run fetches nothing). "
        "A file of your own: --output-spaces NAME=FILE.nii.gz."
    )


def _mask_note(space: OutputSpace, file: _File) -> str:
    return (
        f"--output-spaces {space.name}: its brain mask {file.path} is an empty placeholder and is not used. "
        f"Fetch it where there is a network, {_command(space, _query(space, file))}, or run with "
        "--fetch-templates."
    )


def _command(space: OutputSpace, *queries: Mapping[str, object]) -> str:
    calls = "; ".join(_call(space, query) for query in queries)
    return f'python -c "from templateflow import api; {calls}"'


def _call(space: OutputSpace, query: Mapping[str, object]) -> str:
    words = "".join(f", {key}={value!r}" for key, value in query.items())
    return f"api.get({space.name!r}{words})"
