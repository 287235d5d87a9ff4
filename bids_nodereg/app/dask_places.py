"""Where the workers of a dask cluster are, and which of these places have lost their GPU, over all rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Places:
    """What a run remembers of its workers from one round to the next.

    A place is a GPU of this machine, whose workers come and go with the rounds, or the address of a worker of
    a cluster that is given.

    Parameters
    ----------
    gpus
        For each worker that is started on this machine for a GPU, its name and what it is to have as
        ``CUDA_VISIBLE_DEVICES``. Empty where workers have no GPU, or a cluster is given.
    """

    def __init__(self, gpus: Mapping[str, str] | None = None) -> None:
        self._gpus = dict(gpus or {})
        self._lost: dict[str, TemporaryError] = {}
        self.has_left = True
        """Whether any was left when one was lost last."""

    def lose(self, place: str, why: str, others: int) -> TemporaryError:
        """Use a place no more in this run.

        Parameters
        ----------
        place
            Its name.
        why
            What happened there.
        others
            How many workers there are at other places; of no account where all places are known.

        Returns
        -------
        TemporaryError
            What is said of it.
        """
        error = TemporaryError(f"dask worker {place}: {why}.")
        self._lost[place] = error
        self.has_left = bool(self.gpus_left() if self._gpus else others)
        return error

    def why_lost(self, place: str) -> TemporaryError | None:
        """Say why a place is not used; None where it may be."""
        return self._lost.get(place)

    def first_loss(self) -> TemporaryError | None:
        """Say what was lost first; None where nothing was."""
        return next(iter(self._lost.values()), None)

    def gpus_left(self) -> dict[str, str]:
        """Names and GPUs of the workers that may be started on this machine."""
        return {name: gpu for name, gpu in self._gpus.items() if name not in self._lost}
