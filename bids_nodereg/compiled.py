"""Compile inner loops with numba, kept on disk where that is possible."""

from __future__ import annotations

import inspect
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

Loop = TypeVar("Loop", bound="Callable[..., Any]")


def compiled(**options: Any) -> Callable[[Loop], Loop]:
    """Make a decorator that compiles a loop with numba's options.

    The loops release the interpreter lock, so that other threads read and write files meanwhile.

    numba keeps compiled code in ``NUMBA_CACHE_DIR``, or else beside the source, or else in the user's cache
    folder (``XDG_CACHE_HOME``). Where it can write to none of them, as in a read-only container, the code is
    kept in a private folder of the user among the temporary files; and where there is no such place either,
    or the disk is full, each process compiles the loop anew. A change of any source file in a loop's folder
    makes the kept code old.
    """

    def decorate(loop: Loop) -> Loop:
        dispatcher = njit(nogil=True, **options)(loop)
        if _keep(dispatcher) or (_take_private_folder() and _keep(dispatcher)):
            _stamp_with_folder(dispatcher, str(Path(inspect.getfile(loop)).parent))
            _need_no_room(dispatcher)
        return cast("Loop", dispatcher)

    return decorate


def _keep(dispatcher: Any) -> bool:
    """Let numba keep the compiled code on the disk; False where it finds no folder to write to."""
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        return False
    return True


def _take_private_folder() -> bool:
    """Name a folder among the temporary files that nobody else can write to; False where there is none.

    What is kept there is run, so a folder that another user has prepared under its name is not taken.
    """
    if not hasattr(os, "getuid"):
        return False
    folder = Path(tempfile.gettempdir()) / f"nodereg-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if is_ours:
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined] # numba sets it when it starts
    return is_ours


def _need_no_room(dispatcher: Any) -> None:
    """Go on where compiled code cannot be written: numba itself would end the program."""
    cache_of_loop = getattr(dispatcher, "_cache", None)
    save = getattr(cache_of_loop, "save_overload", None)
    if save is None:
        return

    def save_where_possible(*arguments: Any) -> None:
        with suppress(OSError):
            save(*arguments)

    cache_of_loop.save_overload = save_where_possible  # type: ignore[union-attr] # it has one


def _stamp_with_folder(dispatcher: Any, folder: str) -> None:
    """Let numba compare the sources of a whole folder with those that the kept code was made of.

    By itself it looks at the loop's own file, and would miss a change in a function that the loop calls.
    """
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)  # numba names no other way
    if file is not None:
        file._source_stamp = (file._source_stamp, _sources(folder))


@cache
def _sources(folder: str) -> tuple[tuple[str, float, int], ...]:
    """Name, time of the last change and size of every Python file in a folder."""
    files = sorted((path.name, path.stat()) for path in Path(folder).glob("*.py"))
    return tuple((name, found.st_mtime, found.st_size) for name, found in files)
