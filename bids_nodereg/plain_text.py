"""Text that can neither command a terminal nor fill it: names of files hold whatever their maker liked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Show what cannot be printed as Python writes it; line breaks and tabs stay.

    Control characters move the cursor or change the title of a terminal, marks of direction make a name
    look like another one, and bytes of a name that are no UTF-8 cannot be written at all.

    Examples
    --------
    >>> printable("sub-\x1b[2J_T1w \u202egzi.iin")
    'sub-\\x1b[2J_T1w \\u202egzi.iin'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text)


def first_of(names: Sequence[str], most: int) -> str:
    """Name the first ones and how many more there are.

    Examples
    --------
    >>> first_of(["a", "b", "c"], 2), first_of(["a", "b"], 2)
    ('a, b, and 1 more', 'a, b')
    """
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
