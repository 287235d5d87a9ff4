"""Compile inner loops with numba, kept on disk where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

Loop = TypeVar("Loop", bound="Callable[..., Any]")


def compiled(**options: Any) -> Callable[[Loop], Loop]:
    """Make a decorator that compiles a loop with numba's options.

    numba keeps compiled code beside the source or in the user's cache folder
    (``NUMBA_CACHE_DIR``). Where it can write to neither, as in a read-only container, the loop is
    compiled anew by each process.
    """

    def decorate(loop: Loop) -> Loop:
        try:
            return cast("Loop", njit(cache=True, **options)(loop))
        except RuntimeError:  # no writable folder
            return cast("Loop", njit(**options)(loop))

    return decorate
