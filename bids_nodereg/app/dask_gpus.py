"""Which GPUs, or workers of a given dask cluster, are lost to a run, over all its rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.errors import NodeRegError


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
        self._lost: dict[str, NodeRegError] = {}
        self.has_left = True
        """Whether any was left when one was lost last."""

    def lose(self, place: str, reason: NodeRegError, others: int) -> None:
        """Use a place no more in this run.

        Parameters
        ----------
        place
            Its name.
        reason
            What is said of it.
        others
            How many workers there are at other places; of no account where all places are known.
        """
        self._lost[place] = reason
        self.has_left = bool(self.gpus_left() if self._gpus else others)

    def why_lost(self, place: str) -> NodeRegError | None:
        """Say why a place is not used; None where it may be."""
        return self._lost.get(place)

    def first_loss(self) -> NodeRegError | None:
        """Say what was lost first; None where nothing was."""
        return next(iter(self._lost.values()), None)

    def none_left(self) -> TemporaryError:
        """Say that no place is left, and what was lost first."""
        msg = "No dask worker is left that may be used. Run the same command again to go on."
        return TemporaryError(f"{msg} {self.first_loss() or ''}".rstrip())

    def gpus_left(self) -> dict[str, str]:
        """Names and GPUs of the workers that may be started on this machine."""
        return {name: gpu for name, gpu in self._gpus.items() if name not in self._lost}

    def check_gpus(self) -> None:
        """Make sure that a GPU is left, where workers of this machine have one each.

        Raises
        ------
        TemporaryError
            If none is: workers without a GPU must not take their place.
        """
        if self._gpus and not self.gpus_left():
            raise self.none_left()
