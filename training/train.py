"""Train the learned descriptor: ``python training/train.py --out DIR``.

Every step is a function of the seed and its number, so that a run that was stopped and resumed gives
the same weights on a CPU as one that was not. The defaults are for a long run on one data-centre GPU;
the shipped weights say in their card with what they were made.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

if __name__ == "__main__":  # run as a file: the repository is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bids_nodereg.files import atomic_path
from bids_nodereg.registration.descriptors.contrastive import WEIGHTS, FeatureNetwork
from training.anatomy import Anatomy, head, shapes
from training.chance import Chance
from training.loss import features_at, info_nce, sample_places
from training.real import read_anatomies
from training.views import two_views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.csv"


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights, beside the real label maps."""

    steps: int = 20_000
    batch: int = 4
    size: int = 96
    places: int = 4096
    learning_rate: float = 1e-3
    warm_up: int = 50
    weight_decay: float = 1e-4
    temperature: float = 0.07
    reuse: int = 4
    """Steps that share an anatomy: painting is quicker than growing one."""
    real_share: float = 0.5
    """Of the anatomies, where there are real ones."""
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False


@dataclass
class State:
    """What is trained, and how far."""

    network: FeatureNetwork
    optimiser: torch.optim.Optimizer
    step: int = 0


def new_state(settings: TrainingSettings) -> State:
    """Random weights of this seed."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = FeatureNetwork()
    network.to(settings.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return State(network, optimiser)


def train(
    state: State, settings: TrainingSettings, real: Sequence[Anatomy], out: Path, until: int | None = None
) -> None:
    """Train up to ``settings.steps`` (or ``until``), with a checkpoint every few minutes and at the end."""
    stop = settings.steps if until is None else min(until, settings.steps)
    saved = time.monotonic()
    grown = _Grown(settings, real)
    while state.step < stop:
        row = _step(state, settings, grown)
        state.step += 1
        _log(out / CURVE, {"step": state.step, **row})
        if time.monotonic() - saved > 120:
            save_checkpoint(state, settings, out)
            saved = time.monotonic()
    save_checkpoint(state, settings, out)


class _Grown:
    """The anatomy of a step; the last few are kept."""

    def __init__(self, settings: TrainingSettings, real: Sequence[Anatomy]) -> None:
        self.settings, self.real = settings, real
        self.of = lru_cache(maxsize=2 * settings.batch)(self._grow)

    def _grow(self, number: int) -> Anatomy:
        chance = Chance(self.settings.seed + 1, number, self.settings.device)
        if self.real and chance.happens(self.settings.real_share):
            return self.real[chance.whole(0, len(self.real))]
        return head(chance) if chance.happens(0.5) else shapes(chance)


def _step(state: State, settings: TrainingSettings, grown: _Grown) -> dict[str, float]:
    """One update; the losses before it."""
    started = time.perf_counter()
    rate = learning_rate(state.step, settings)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad()
    totals = {"loss": 0.0, "top1": 0.0}
    for member in range(settings.batch):
        anatomy = grown.of((state.step // settings.reuse) * settings.batch + member)
        chance = Chance(settings.seed, state.step * settings.batch + member, settings.device)
        loss, top1 = _pair_loss(state.network, anatomy, settings, chance)
        (loss / settings.batch).backward()
        for key, value in zip(totals, (loss, top1), strict=True):
            totals[key] += float(value.detach()) / settings.batch
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    return {**totals, "learning_rate": rate, "seconds": time.perf_counter() - started}


def _pair_loss(
    network: FeatureNetwork, anatomy: Anatomy, settings: TrainingSettings, chance: Chance
) -> tuple[Tensor, Tensor]:
    """InfoNCE of two views, and how often the true place is the nearest."""
    a, b = two_views(anatomy, settings.size, chance)
    here, there = sample_places(a, b, settings.places, chance)
    if len(here) < 2:  # nothing in common: a term without gradient
        nothing = 0.0 * torch.stack([parameter.sum() for parameter in network.parameters()]).sum()
        return nothing, nothing
    with torch.autocast(torch.device(settings.device).type, torch.bfloat16, enabled=settings.bf16):
        both: Tensor = network(torch.cat([a.image, b.image]), torch.cat([a.mask, b.mask]))
    first, second = (
        features_at(features, places) for features, places in zip(both.split(1), (here, there), strict=True)
    )
    loss = info_nce(first, second, here, settings.temperature)
    best = (first.detach() @ second.detach().T).argmax(1)
    top1 = (best == torch.arange(len(best), device=best.device)).float().mean()
    return loss, top1


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the rate."""
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def save_checkpoint(state: State, settings: TrainingSettings, out: Path) -> None:
    """Write the state to resume from, and the weights alone."""
    content = {
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "settings": asdict(settings),
    }
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(content, temporary)
    weights = {name: value.detach().cpu().contiguous() for name, value in state.network.state_dict().items()}
    with atomic_path(out / WEIGHTS) as temporary:
        temporary.write_bytes(save(weights))


def load_checkpoint(settings: TrainingSettings, out: Path) -> State:
    """Read the state that :func:`save_checkpoint` wrote; its settings must be these."""
    content = torch.load(out / CHECKPOINT, map_location=settings.device, weights_only=True)
    if content["settings"] != asdict(settings):
        msg = f"{out / CHECKPOINT}: made with {content['settings']}, asked for {asdict(settings)}"
        raise ValueError(msg)
    state = new_state(settings)
    state.network.load_state_dict(content["network"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.step = content["step"]
    return state


def _log(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def main() -> None:
    """Read the command line and train."""
    arguments = _parser().parse_args()
    names = ("steps", "batch", "size", "places", "reuse", "learning_rate", "seed", "device", "bf16")
    settings = TrainingSettings(**{name: getattr(arguments, name) for name in names})
    arguments.out.mkdir(parents=True, exist_ok=True)
    there = (arguments.out / CHECKPOINT).exists()
    if there and not arguments.resume:
        sys.exit(f"{arguments.out / CHECKPOINT} exists. Give --resume to go on, or another --out.")
    state = load_checkpoint(settings, arguments.out) if there else new_state(settings)
    train(state, settings, read_anatomies(arguments.real, settings.device), arguments.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = TrainingSettings()
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, curve and weights")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--real", nargs="*", default=[], metavar="LABELS[,IMAGE]", help="real anatomies, 1 mm"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch, help="pairs of views per step")
    parser.add_argument("--size", type=int, default=defaults.size, help="voxels along an edge of a view")
    parser.add_argument("--places", type=int, default=defaults.places, help="places told apart in a view")
    parser.add_argument("--reuse", type=int, default=defaults.reuse, help="steps that share an anatomy")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16")
    return parser


if __name__ == "__main__":
    main()
