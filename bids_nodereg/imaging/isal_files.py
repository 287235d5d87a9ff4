"""Gzip files by Intel's ISA-L, with the errors of the standard library; needs the isal package."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isal import igzip, isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

compress = isal_zlib.compress


class IsalFile(igzip.IGzipFile):
    """A gzip file whose reader raises `zlib.error` where the data cannot be decompressed."""

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, or all."""
        with _as_zlib():
            return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the decompressed content."""
        with _as_zlib():
            return int(super().seek(offset, whence))  # type: ignore[no-untyped-call]


@contextmanager
def _as_zlib() -> Iterator[None]:
    try:
        yield
    except isal_zlib.error as error:  # type: ignore[misc] # its types do not say that it is an exception
        raise zlib.error(str(error)) from error
