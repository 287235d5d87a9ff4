"""Spoiling files at random, without a look at what they make the reader do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

TELLING = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x80\x7f",  # infinity as float32
    b"\x00\x00\xc0\xff",  # NaN
    b"\n",
    b"[" * 99,
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change a few places: a bit, telling bytes, a piece lost or doubled, the end cut off."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = _changed(content, rng)
    return content


def _changed(content: bytes, rng: random.Random) -> bytes:
    at, to = rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)
    piece = rng.choice(TELLING)
    ways = (
        lambda: (
            content[:at]
            + bytes(each ^ 1 << rng.randrange(8) for each in content[at : at + 1])
            + content[at + 1 :]
        ),
        lambda: content[:at] + piece + content[at + len(piece) :],
        lambda: content[:at] + piece + content[at:],
        lambda: content[: min(at, to)] + content[max(at, to) :],
        lambda: content[:at] + content[at : at + 40] * 2 + content[at + 40 :],
        lambda: content[: max(at, len(content) - 600)],
    )
    return rng.choice(ways)()
