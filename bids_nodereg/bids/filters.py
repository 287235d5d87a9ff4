"""The ``--bids-filter-file``, read with the meaning it has in fMRIPrep."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bids_nodereg.bids.image import CONTRASTS
from bids_nodereg.bids.names import LONG_TO_SHORT, strip_prefix
from bids_nodereg.errors import MissingInputError, UsageError
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


Value = str | int | None
Query = dict[str, Value | list[Value]]

QUERY_NAMES: dict[str, str] = {suffix.lower(): suffix for suffix in CONTRASTS}
_ENTITIES = (set(LONG_TO_SHORT) - {"subject"}) | {"datatype", "suffix", "extension"}


@dataclass(frozen=True)
class Filters:
    """What a filter file asks for.

    Attributes
    ----------
    queries
        Suffix of a contrast to the entities that its images must have; None stands for "has no
        such entity" and ``"*"`` for "has one, whatever it is".
    notes
        Remarks for the user, such as keys that were ignored.
    """

    queries: Mapping[str, Query] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_filters(path: Path) -> Filters:
    """Read a filter file: JSON object of query names (``t1w``, ``t2w``, ``flair``, ...) to entities.

    Names of queries that do not concern this program (``bold``, ``fmap``, ...) are ignored with a
    note, because one file usually serves several programs.

    Raises
    ------
    MissingInputError
        If the file is not there.
    UsageError
        If it is not JSON, not an object of objects, or names an unknown entity.
    """
    content = _read_object(path)
    queries: dict[str, Query] = {}
    notes = []
    for name, query in content.items():
        if name not in QUERY_NAMES and name.lower() in QUERY_NAMES:
            msg = f"{path}: query {name!r} is not known. Did you mean {name.lower()!r}?"
            raise UsageError(msg)
        if name not in QUERY_NAMES:
            notes.append(f"{path}: query {name!r} is ignored; used are {', '.join(QUERY_NAMES)}.")
            continue
        if not isinstance(query, dict):
            msg = f"{path}: query {name!r} is {query!r}, expected an object of entities and their values."
            raise UsageError(msg)
        queries[QUERY_NAMES[name]] = {
            entity: _check_value(path, name, entity, value) for entity, value in query.items()
        }
    return Filters(queries, tuple(notes))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except OSError as error:
        msg = f"{path}: the BIDS filter file cannot be read ({error.strerror or error})."
        raise MissingInputError(msg) from error
    except ValueError as error:
        msg = f"{path}: the BIDS filter file is not valid JSON ({error})."
        raise UsageError(msg) from error
    if not isinstance(content, dict):
        msg = f'{path}: the BIDS filter file is a JSON {type(content).__name__}, expected {{"t1w": {{...}}}}.'
        raise UsageError(msg)
    return content


def _check_value(path: Path, name: str, entity: str, value: object) -> Value | list[Value]:
    if entity not in _ENTITIES:
        msg = f"{path}: query {name!r}: " + _unknown_entity(entity)
        raise UsageError(msg)
    values: list[Value] = []
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool) or not isinstance(each, (str, int, type(None))):
            msg = f"{path}: query {name!r}: {entity} is {value!r}, expected text, number, null or a list."
            raise UsageError(msg)
        is_session = entity == "session" and isinstance(each, str)
        values.append(strip_prefix(str(each), "ses") if is_session else each)
    return values if isinstance(value, list) else values[0]


def _unknown_entity(entity: str) -> str:
    if entity == "subject":
        return "'subject' cannot be filtered here; use --participant-label."
    from_short = {short: long for long, short in LONG_TO_SHORT.items()}
    close = [from_short[entity]] if entity in from_short else difflib.get_close_matches(entity, _ENTITIES, 1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known are {', '.join(sorted(_ENTITIES))}."
    return f"{entity!r} is not a BIDS entity." + hint
