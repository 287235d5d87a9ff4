"""Brain masks by programs of others that the user has: SynthStrip and HD-BET."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bids_nodereg.children import child
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.imaging.volume import read_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bids_nodereg.imaging.volume import Volume

SHOWN = 300
"""Last characters of a program's complaint that are shown."""

# What each program is called, and its words; {image} is read, {mask} and {out} are written.
PROGRAMS = {
    "synthstrip": ("mri_synthstrip", ("-i", "{image}", "-m", "{mask}")),
    "hd-bet": (
        "hd-bet",
        ("-i", "{image}", "-o", "{out}", "-device", "{device}", "--disable_tta", "--save_bet_mask"),
    ),
}
OUT = "brain.nii.gz"
MASKS = ("mask.nii.gz", "brain_bet.nii.gz")
"""What the mask may be called: the first name is our choice, the second is HD-BET's, beside the image."""


def program_brain(volume: Volume, name: str, device: str) -> NDArray[np.bool_]:
    """Ask another program for the brain of an image.

    Parameters
    ----------
    volume
        The image; the program reads its file.
    name
        A key of :data:`PROGRAMS`.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    ndarray
        ``(i, j, k)`` on the image's grid.

    Raises
    ------
    MissingInputError
        If the program is not on the PATH.
    DataError
        If it fails, or writes no mask.
    """
    command, words = PROGRAMS[name]
    program = shutil.which(command)
    if program is None:
        msg = (
            f"--brain-mask-method {name}: {command} is not on the PATH. Install it, or choose another method."
        )
        raise MissingInputError(msg)
    with tempfile.TemporaryDirectory(prefix="nodereg-") as name_of_folder:
        folder = Path(name_of_folder)
        values = {
            "image": str(volume.path),
            "mask": str(folder / MASKS[0]),
            "out": str(folder / OUT),
            "device": device,
        }
        filled = [program, *(word.format_map(values) for word in words)]
        code, complaint = _done(filled, folder)
        written = [folder / mask for mask in MASKS if (folder / mask).is_file()]
        if code or not written:
            msg = (
                f"{volume.path}: {command} gave no brain mask (exit code {code}): {complaint}. "
                "Choose another --brain-mask-method, or give a mask."
            )
            raise DataError(msg)
        return read_mask(written[0], volume.grid)


def _done(words: list[str], folder: Path) -> tuple[int, str]:
    """Run a program to its end; its exit code, and the last of what it has said."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        environment = {**os.environ, "TMPDIR": str(folder)}  # so that what it leaves goes too
        with child(words, str(folder), stdout=out, stderr=err, env=environment) as process:
            code = process.wait()
        return code, _last(err) or _last(out)


def _last(said: IO[bytes]) -> str:
    said.seek(max(said.seek(0, os.SEEK_END) - SHOWN, 0))
    return said.read(SHOWN).decode("utf-8", "replace").strip()
