"""Read and prepare the images of pairs, each image once although it is in several pairs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import torch

from bids_nodereg.app.available import host_room
from bids_nodereg.app.find_brain import FOUND, find_brain
from bids_nodereg.app.inputs import GIVEN, Inputs, looks_skull_stripped
from bids_nodereg.app.opening import refuse_what_has_no_room
from bids_nodereg.app.provenance import sha256
from bids_nodereg.bids.brain_masks import brain_mask_path, brain_mask_sidecar
from bids_nodereg.bids.names import beside
from bids_nodereg.config import Settings
from bids_nodereg.errors import DataError
from bids_nodereg.files import atomic_path, remove, write_json
from bids_nodereg.imaging.bias import without_bias
from bids_nodereg.imaging.brain import CUT_HEAD_MM2, contact_mm2
from bids_nodereg.imaging.prepare import Prepared, prepare
from bids_nodereg.imaging.volume import read_image, read_labels, read_mask, write_image
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from bids_nodereg.app.available import Room
    from bids_nodereg.app.device import Hardware
    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.geometry import Grid

KEPT_IMAGES = 4
"""The reference of a session, two more, and a template: what is used again soon, and no more than that."""

CPU = torch.device("cpu")

ANY_ROOM = partial(host_room, None)
"""What the machine, the container and the system leave."""

DIGEST = "SHA256"
"""Key in the sidecar of a mask that was found: what the file is as long as nobody has changed it."""

LOG = logging.getLogger("nodereg")


@dataclass(frozen=True)
class _Wanted:
    """One image as a pair wants it."""

    path: Path
    mask: Path | None
    lesion: Path | None
    as_it_is: bool
    """Whether it is a template, whose bias field is not to be looked for."""

    @property
    def state(self) -> tuple[tuple[int, ...], ...]:
        """Size, time and place on the disk of each file: a file that is replaced is another one."""
        return tuple(_state_of(path) for path in (self.path, self.mask, self.lesion))


_Key = tuple[_Wanted, tuple[tuple[int, ...], ...]]


class PreparedImages:
    """Prepared images of a run; the last few are kept.

    Parameters
    ----------
    settings
        Say how brain masks are found and whether bias fields are corrected.
    device
        Where to compute.
    room
        Tells what memory is free.
    """

    def __init__(
        self, settings: Settings, device: torch.device = CPU, room: Callable[[], Room | None] = ANY_ROOM
    ) -> None:
        self._settings = settings
        self._room = room
        self._device = device
        self._kept: OrderedDict[_Key, Prepared] = OrderedDict()
        self._written: set[Path] = set()
        self._lock = Lock()  # a pair that is composed is read while the next one is opened

    def of(self, pair: Pair) -> Inputs:
        """Read and prepare both images of a pair, with what belongs to them.

        Raises
        ------
        NodeRegError
            If a file cannot be used, or the way to find a brain that was named is not there.
        """
        with self._lock:
            return self._of(pair)

    def _of(self, pair: Pair) -> Inputs:
        lesions = [None if each is None else each.path for each in (pair.fixed_lesion, pair.moving_lesion)]
        is_template = pair.template is not None
        fixed = self._prepared(_Wanted(pair.fixed.path, pair.fixed_mask, lesions[0], is_template))
        moving = self._prepared(_Wanted(pair.moving.path, pair.moving_mask, lesions[1], as_it_is=False))
        return Inputs(fixed, moving, None if pair.stiffness is None else read_image(pair.stiffness.path))

    def write_found_masks(self, pair: Pair, inputs: Inputs, out_dir: Path) -> None:
        """Write the brain masks that were found in the images of a pair, each once in a run.

        A mask that was given, and one of an image that is not of the data set itself, is not written; one
        of an earlier run that would not be found any more goes. What a person has changed stays.

        Raises
        ------
        OutputError
            If the output cannot be written.
        """
        with self._lock:
            self._write_found_masks(pair, inputs, out_dir)

    def _write_found_masks(self, pair: Pair, inputs: Inputs, out_dir: Path) -> None:
        for image, prepared in ((pair.fixed, inputs.fixed), (pair.moving, inputs.moving)):
            path = brain_mask_path(image, out_dir)
            if path is None or path in self._written:
                continue
            if prepared.mask_origin.startswith(FOUND):
                self._written.add(path)
                if _is_free(path):
                    _write_mask(image, prepared, path)
            elif not _is_given(path, pair) and _is_free(path):
                _remove_mask(path)

    def _prepared(self, wanted: _Wanted) -> Prepared:
        """Take an image from those that are kept, or prepare it and forget the one not used for longest."""
        key = wanted, wanted.state  # taken before the reading: what is replaced meanwhile is read again
        if key not in self._kept:
            while len(self._kept) >= KEPT_IMAGES:
                self._kept.popitem(last=False)
            for path in filter(None, (wanted.path, wanted.mask, wanted.lesion)):
                refuse_what_has_no_room(path, self._room())
            self._kept[key] = _prepare(wanted, self._settings, self._device)
        self._kept.move_to_end(key)
        return self._kept[key]


def room_of(hardware: Hardware) -> Callable[[], Room | None]:
    """Give what tells the memory that is free for one process of a run."""
    return partial(host_room, hardware.mem_mb, hardware.processes)


def read_inputs(pair: Pair) -> Inputs:
    """Read and prepare one pair by the default settings, on the CPU."""
    return PreparedImages(Settings()).of(pair)


def _state_of(path: Path | None) -> tuple[int, ...]:
    """What changes with the content of a file; nothing for none, and for one that the reader will refuse."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return ()
    return () if found is None else (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def _prepare(wanted: _Wanted, settings: Settings, device: torch.device) -> Prepared:
    volume = read_image(wanted.path)
    lesion = None if wanted.lesion is None else _read_lesion(wanted.lesion, volume.grid)
    if wanted.mask is not None:
        mask = read_mask(wanted.mask, volume.grid)
        prepared = prepare(volume, mask, mask_origin=f"{GIVEN}: {wanted.mask.name}", lesion=lesion)
        is_stripped = looks_skull_stripped(prepared)
    else:
        prepared = prepare(volume, lesion=lesion)
        is_stripped = shows_brain_alone(prepared)
        if not is_stripped:
            prepared = _with_brain(prepared, settings, device)
    wants_n4 = settings.bias_correction == "n4" or (
        settings.bias_correction == "auto" and not is_stripped and not wanted.as_it_is
    )
    return _without_bias(prepared) if wants_n4 else prepared


def shows_brain_alone(prepared: Prepared) -> bool:
    """Whether an image without a given mask is skull-stripped: its foreground is then the brain.

    A head that the field of view has cut to the volume of a brain ends in wide cuts at the faces.
    """
    is_cut = contact_mm2(prepared.mask, prepared.volume.grid) > CUT_HEAD_MM2
    return looks_skull_stripped(prepared) and not is_cut


def _with_brain(prepared: Prepared, settings: Settings, device: torch.device) -> Prepared:
    """The image with the mask of its brain, or with that of the head and the reason."""
    found = find_brain(prepared.volume, prepared.mask, settings.brain_mask, device)
    if found.mask is None:
        return replace(prepared, mask_origin=f"{prepared.mask_origin}; {found.origin}")
    return prepare(prepared.volume, found.mask, mask_origin=found.origin, lesion=prepared.lesion)


def _without_bias(prepared: Prepared) -> Prepared:
    unbiased = without_bias(prepared.volume, prepared.mask)
    if unbiased is None:
        return prepared
    return prepare(
        prepared.volume,
        prepared.mask,
        mask_origin=prepared.mask_origin,
        lesion=prepared.lesion,
        unbiased=unbiased,
    )


def _read_lesion(path: Path, grid: Grid) -> NDArray[np.bool_] | None:
    """Read a lesion mask like a brain mask; None for an empty one, as studies keep for the healthy."""
    try:
        return read_mask(path, grid, whole=True)
    except DataError:
        if read_labels(path).data.any():
            raise
        return None


def _write_mask(image: Image, prepared: Prepared, path: Path) -> None:
    """Write a mask and its sidecar so that no end of the process leaves a mask that seems to be a person's.

    The old mask goes, the sidecar gets the digest of the new one, and the new one gets its name last: a mask
    that is there is always the one that the sidecar tells of.
    """
    with atomic_path(path) as temporary:
        write_image(prepared.mask, prepared.volume.grid, temporary, dtype="uint8")
        told = {**brain_mask_sidecar(image, prepared.mask_origin), DIGEST: sha256(temporary)}
        remove(path)
        write_json(beside(path, ".json"), told)


def _remove_mask(path: Path) -> None:
    for each in (path, beside(path, ".json")):
        remove(each)


def _is_given(path: Path, pair: Pair) -> bool:
    """Whether a mask in the output is what the user gives to this pair."""
    masks = (mask for mask in (pair.fixed_mask, pair.moving_mask) if mask is not None)
    return any(mask.resolve() == path.resolve() for mask in masks)


def _is_free(path: Path) -> bool:
    """Whether a mask may be replaced: it is not there, or it is as this program wrote it."""
    if not path.is_file():
        return True
    try:
        known = read_json(beside(path, ".json"), is_ours=True)[DIGEST]
    except (OSError, ValueError, KeyError, TypeError):
        known = ""
    is_ours = bool(known == sha256(path))
    if not is_ours:
        LOG.warning("    %s was changed by hand and stays. Give it by --derivatives to use it.", path)
    return is_ours
