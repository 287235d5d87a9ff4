"""The only door to pybids: index participants (or open a database) and query them.

pybids takes a second to be imported, so that waits for the first query. One index serves many
participants, because making one and asking it costs more than the files in it: an index for each of a
thousand participants takes minutes, one for all of them seconds (docs/decisions/0006-one-index-for-many.md).
Metadata are not indexed: the pairing goes by names, and a sidecar that is broken must not stop it.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.bids.database import check_database
from bids_nodereg.bids.image import Image, image_from_name
from bids_nodereg.errors import MissingInputError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bids_nodereg.bids.filters import Query

LOG = logging.getLogger("nodereg")

DATABASE_FILE = "layout_index.sqlite"  # the name is pybids' own
MOST_NAMED = 50
"""Participants that a query names one by one; beyond, it asks for everyone and the rest is dropped."""

_NOT_RAW = r"^/(code|models|sourcedata|stimuli|derivatives)(/|$)"
_NOT_ANAT = r"/(beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)(/|$)"

Layout = Any  # pybids carries no types


def layout_of(root: Path, subjects: Sequence[str]) -> Layout:
    """Pybids layout that holds the anatomical files of these participants only.

    Raises
    ------
    MissingInputError
        If a folder cannot be listed.
    """
    # folders only: a file of another's name in the folder of one of these is to be told of
    others = rf"^/sub-(?!({'|'.join(map(re.escape, subjects))})(/|$))"
    try:
        return _index(root, (_NOT_RAW, _NOT_ANAT, others), database_dir=None)
    except OSError as error:
        msg = (
            f"{error.filename or root}: cannot be listed ({error.strerror or error}). Check the permissions."
        )
        raise MissingInputError(msg) from error


def database_layout(root: Path, database_dir: Path) -> Layout:
    """Open the pybids database of a data set; make it, for all participants, when it is missing.

    A new database is made under another name and moved into place when whole, so that workers
    that start together never read half of one.

    Raises
    ------
    UsageError
        If the database is of another data set, or is none.
    OutputError
        If it is missing and the folder cannot be written.
    """
    if "?" in str(database_dir):
        msg = f"{database_dir}: SQLAlchemy takes what follows '?' for options. Give a folder without it."
        raise UsageError(msg)
    if not (database_dir / DATABASE_FILE).is_file():
        _make_database(root, database_dir)
    check_database(database_dir / DATABASE_FILE, root)
    from bids.layout import BIDSLayout

    with _telling(database_dir):
        return BIDSLayout(root, validate=False, database_path=str(database_dir))


@contextmanager
def _telling(database_dir: Path) -> Iterator[None]:
    """Turn what pybids makes of a damaged database into one message."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ValueError, LookupError, AttributeError, TypeError, re.error) as error:
        msg = f"{database_dir / DATABASE_FILE}: no usable pybids database ({error}). Delete it to remake it."
        raise UsageError(msg) from error


def find_images(layout: Layout, root: Path, subjects: Sequence[str], query: Query) -> dict[str, list[Image]]:
    """Image files of the participants that fit a query, by participant.

    A value is None for "has no such entity" and ``"*"`` for "has one, whatever it is", as in fMRIPrep's
    filter files.

    Raises
    ------
    UsageError
        If a database is damaged, or names a file outside of the data set.
    """
    from bids.layout import Query as Special

    special: dict[object, object] = {None: Special.NONE, "*": Special.ANY}
    arguments: dict[str, Any] = {"extension": [".nii", ".nii.gz"]}
    for entity, value in query.items():
        values = [special.get(each, each) for each in (value if isinstance(value, list) else [value])]
        arguments[entity] = values if isinstance(value, list) else values[0]
    if len(subjects) <= MOST_NAMED:
        arguments["subject"] = list(subjects)
    database = layout.connection_manager.database_file
    with nullcontext() if database is None else _telling(Path(database).parent):
        # "allow": an entity that the index does not know is one that no file has
        names = layout.get(scope="self", invalid_filters="allow", return_type="filename", **arguments)
        relative = [_below(Path(name), layout.root) for name in names]
    return _by_participant(root, relative, set(subjects))


def _below(path: Path, root: str) -> Path:
    """Give a path relative to the root of the data set.

    Raises
    ------
    ValueError
        If it leads outside, which only a database can say.
    """
    relative = path.relative_to(root)
    if ".." in relative.parts:
        msg = f"{str(path)!r} leads out of {root}"
        raise ValueError(msg)
    return relative


def _by_participant(root: Path, names: Iterable[Path], subjects: set[str]) -> dict[str, list[Image]]:
    """Records of the images of some participants, by paths relative to the root.

    A database may know the root by another spelling (a link), so the paths are put onto the root given.
    Whose an image is the folder says, so that files of participants not asked for cost next to nothing.
    """
    found: dict[str, list[Image]] = defaultdict(list)
    for name in names:
        subject = name.parts[0].removeprefix("sub-")
        if subject not in subjects:
            continue
        image = image_from_name(root / name, name.as_posix())
        if image is not None:
            found[subject].append(image)
    return found


def _index(root: Path, ignore: Sequence[str], database_dir: Path | None) -> Layout:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    patterns = [*(re.compile(pattern) for pattern in ignore), _NotText()]
    indexer = BIDSLayoutIndexer(index_metadata=False, ignore=patterns)
    database = None if database_dir is None else str(database_dir)
    # the entities of derivatives too, because a filter may ask for desc- or space-
    configs = ["bids", "derivatives"]
    return BIDSLayout(
        root,
        validate=False,
        indexer=indexer,
        database_path=database,
        reset_database=True,
        config=configs,
    )


class _NotText:
    """In place of a pattern: names whose bytes are no UTF-8, which no database holds, are passed over."""

    def search(self, path: str) -> bool:
        """Whether a path is such a one; then it is told."""
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = path.encode("utf-8", "backslashreplace").decode()
            LOG.warning("%s: the name is not UTF-8, so the file is passed over. Rename it to use it.", shown)
            return True
        return False


def _make_database(root: Path, database_dir: Path) -> None:
    try:
        database_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=database_dir) as temporary:
            # made here, because SQLite does not give its files the mode that the user's umask asks for
            (Path(temporary) / DATABASE_FILE).touch()
            _index(root, (_NOT_RAW,), Path(temporary))
            (Path(temporary) / DATABASE_FILE).replace(database_dir / DATABASE_FILE)
    except OSError as error:
        msg = f"{database_dir}: the pybids database cannot be written ({error.strerror or error})."
        raise OutputError(msg) from error
