"""The methods by name: which adapter runs them, with what, and what has to be there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.config import PRESETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peers.case_list import Kind

ADAPTERS = Path(__file__).parent / "adapters"
MULTI: tuple[Kind, ...] = ("real", "exact", "known")
ANY: tuple[Kind, ...] = (*MULTI, "mono")
OURS = "nodereg"


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes
    ----------
    name
        As asked for on the command line.
    script
        Adapter in ``adapters/``; None for methods of our own, which run in our interpreter.
    options
        What the adapter is told.
    needs
        Environment variable without which it cannot run.
    kinds
        Cases it makes sense for.
    """

    name: str
    script: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str = "PEERS_PYTHON"
    kinds: tuple[Kind, ...] = ANY

    def missing(self) -> str | None:
        """Why it cannot run here; None where it can."""
        if self.script is None:
            return None
        for variable in dict.fromkeys(("PEERS_PYTHON", self.needs)):
            if not Path(os.environ.get(variable, "/nonexistent")).exists():
                return f"{variable} is not set to an existing path"
        return None


FULL_SCHEDULE = (100, 70, 50, 20)
WNCC = "WNCC 2x2x2"
PEERS = (
    Method("convexadam", "run_convexadam.py"),
    Method(
        "greedy-sv-wncc-inv",
        "run_greedy.py",
        {"metric": WNCC, "stationary": True, "invert": True},
        kinds=MULTI,
    ),
    Method("greedy-wncc-inv", "run_greedy.py", {"metric": WNCC, "invert": True}, kinds=MULTI),
    Method("greedy-wncc", "run_greedy.py", {"metric": WNCC}, kinds=("mono",)),
    Method("greedy-nmi", "run_greedy.py", {"metric": "NMI"}),
    Method("deeds", "run_deeds.py", needs="DEEDS_DIR"),
    Method("ants-syn-mi", "run_ants.py", {"metric": "mattes", "sampling": 32, "iterations": FULL_SCHEDULE}),
    Method("ants-syn-cc", "run_ants.py", {"metric": "CC", "sampling": 2, "iterations": FULL_SCHEDULE}),
    Method("fireants-cc", "run_fireants.py", {"loss": "cc"}),
    Method("fireants-mi", "run_fireants.py", {"loss": "mi"}),
    Method("niftyreg-vel-nmi", "run_niftyreg.py", needs="NIFTYREG_DIR"),
)
METHODS = {
    method.name: method
    for method in (Method("affine"), *(Method(f"{OURS}-{preset}") for preset in PRESETS), *PEERS)
}


def method_named(name: str) -> Method:
    """Look a method up; ``nodereg[-<preset>]:<setting>=<value>,...`` is a preset with changes.

    Raises
    ------
    SystemExit
        If there is no such method.
    """
    base, changed, _ = name.partition(":")
    if changed and (base == OURS or base.removeprefix(f"{OURS}-") in PRESETS):
        return Method(name)
    if name not in METHODS:
        msg = f"no such method: {name}. Known: {', '.join(METHODS)}, {OURS}:<a.b=c,...>."
        raise SystemExit(msg)
    return METHODS[name]
