"""On which workers of a dask cluster a run works, and what is said of one that offers too little."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.dask_gpus import Places
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bids_nodereg.errors import NodeRegError


@dataclass(frozen=True)
class Terms:
    """On which workers a run works, and how.

    Attributes
    ----------
    run
        Its name: unique among all that use the cluster.
    check
        Takes addresses of new workers; gives for those that cannot be used the reason.
    resources
        What dask sets aside on a worker for each task, as ``{"GPU": 1}``; a worker that does not offer it is
        not used.
    one_per_host
        Whether a task is to have the machine for itself.
    is_ours
        Whether the workers are of this run alone: then they are started afresh as those of
        :mod:`bids_nodereg.app.workers` are, one that is started again has the name that it had, and nobody
        else starts any.
    places
        Which workers are not used any more; those whose place is lost are added to it.
    """

    run: str
    check: Callable[[Sequence[str]], Mapping[str, NodeRegError]]
    resources: Mapping[str, float] = field(default_factory=dict)
    one_per_host: bool = False
    is_ours: bool = False
    places: Places = field(default_factory=Places)

    def refused(self, new: Mapping[str, Mapping[str, Any]]) -> dict[str, NodeRegError]:
        """Look at new workers; for those that cannot be used the reason.

        Parameters
        ----------
        new
            For each address what the scheduler tells of the worker.
        """
        refused: dict[str, NodeRegError] = {
            address: self._no_offer(address) for address, told in new.items() if not self._is_offered_by(told)
        }
        if able := [address for address in new if address not in refused]:
            refused.update(self.check(able))
        return refused

    def _is_offered_by(self, told: Mapping[str, Any]) -> bool:
        offered = told.get("resources", {})
        return all(offered.get(name, 0) >= amount for name, amount in self.resources.items())

    def _no_offer(self, address: str) -> NodeRegError:
        asked = " ".join(f"{name}={amount:g}" for name, amount in self.resources.items())
        return UsageError(
            f"dask worker {address} does not offer {asked}. Start each with one GPU to see and "
            f'dask worker ADDRESS --resources "{asked}", or use --device cpu.'
        )
