"""The GPUs that processes of their own are started for, and which of them are still of use."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg.app.slots import Slots
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from bids_nodereg.config import Resources, RunConfig

VARIABLE = "CUDA_VISIBLE_DEVICES"


def with_gpus(config: RunConfig) -> tuple[RunConfig, tuple[str, ...]]:
    """Find the GPUs that are asked for, and let each have a process, or several; and their names.

    Raises
    ------
    UsageError
        If there are fewer, or they cannot have as many processes each.
    """
    asked = asked_gpus(config.resources)
    if asked is None:
        return config, ()
    import torch

    names = choose_gpus(asked, torch.cuda.device_count, option=option_of(config.resources))
    processes = processes_on(config.resources, len(names))
    resources = replace(config.resources, device="cuda", n_procs=processes, gpus=len(names))
    return replace(config, resources=resources), names


def asked_gpus(resources: Resources) -> int | Literal["all"] | None:
    """How many GPUs are to have processes of their own; None where none are."""
    return resources.gpus or _of_local_dask(resources)


def processes_on(resources: Resources, gpus: int) -> int:
    """How many processes a number of GPUs have, all together.

    Raises
    ------
    UsageError
        If they cannot have as many each.
    """
    shared = resources.n_procs if resources.executor == "local" else 1
    processes = shared if shared > 1 else gpus
    if processes % gpus:
        told = f"--n-procs {processes}: {gpus} GPUs cannot have as many processes each"
        msg = f"{told}. Give a multiple of {gpus}, or leave it out for one each."
        raise UsageError(msg)
    return processes


def _of_local_dask(resources: Resources) -> int | Literal["all"] | None:
    """How many GPUs the dask workers of this machine have, one each, where there are any."""
    is_local_dask = resources.executor == "dask" and resources.dask_scheduler is None
    if not is_local_dask or resources.device == "cpu":
        return None
    if resources.device == "auto":
        import torch

        if not torch.cuda.is_available():
            return None
    return resources.dask_workers or ("all" if resources.n_procs == 1 else resources.n_procs)


def option_of(resources: Resources) -> str:
    """Name of the option that says how many GPUs are wanted."""
    if resources.gpus is not None:
        return "--gpus"
    if resources.dask_workers is not None:
        return "--dask-workers"
    return "--executor dask --n-procs" if resources.n_procs > 1 else "--executor dask, GPUs:"


def choose_gpus(
    asked: int | Literal["all"],
    count: Callable[[], int],
    environment: Mapping[str, str] = os.environ,
    *,
    option: str = "--gpus",
) -> tuple[str, ...]:
    """Choose GPUs, the first ones, by the names that :data:`VARIABLE` knows them by.

    Parameters
    ----------
    asked
        How many, or all.
    count
        Tells how many CUDA sees, which is what the variable leaves.
    environment
        Of this process.
    option
        That asks for them, for the message.

    Raises
    ------
    UsageError
        If fewer can be seen than were asked for, or none.
    """
    names = visible_gpus(environment, count)
    wanted = len(names) if asked == "all" else asked
    if not names or wanted > len(names):
        value = environment.get(VARIABLE)
        msg = (
            f"{option} {asked}: {len(names)} CUDA device(s) can be seen ({VARIABLE} is "
            f"{'not set' if value is None else repr(value)}). Ask the scheduler for as many, and let a "
            "container see them (docker --gpus all, apptainer --nv), or leave the option out."
        )
        raise UsageError(msg)
    return names[:wanted]


def visible_gpus(environment: Mapping[str, str], count: Callable[[], int]) -> tuple[str, ...]:
    """Name every GPU that may be used: a number, the start of a UUID, or a part of one (MIG).

    CUDA takes the names up to the first that it does not know, and of parts of GPUs it shows a process one
    only, however many are named; here each part gets a process of its own.
    """
    value = environment.get(VARIABLE)
    if value is None:
        return tuple(str(number) for number in range(count()))
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if names and all(name.startswith("MIG-") for name in names):
        return names if count() else ()
    return names[: count()] if names else ()


def gpu_slots(names: tuple[str, ...], processes: int) -> Slots:
    """Give each GPU the same number of processes that see it alone; first one each."""
    return Slots([(f"GPU {name}", {VARIABLE: name}) for name in names * (processes // len(names))])
