"""Text that cannot command a terminal: names of files hold whatever their maker liked."""

from __future__ import annotations


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


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
