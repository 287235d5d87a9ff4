"""The methods paragraph with its references, for reports and for ``logs/CITATION.md``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.quality.records import MethodsFacts

DESCRIPTORS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mind": ("the modality independent neighbourhood descriptor (MIND)", ("heinrich2012",)),
        "mind-ssc": (
            "the modality independent neighbourhood descriptor in its self-similarity form (MIND-SSC)",
            ("heinrich2012", "heinrich2013"),
        ),
    }
)
"""Words and references of each descriptor."""


@dataclass(frozen=True)
class MethodsText:
    """Paragraphs in which ``[n]`` points to the n-th reference."""

    paragraphs: tuple[str, ...]
    references: tuple[str, ...]


class _Citations:
    """Numbers references in the order in which the text first names them."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        for key in keys:
            if key not in self.keys:
                self.keys.append(key)
        numbers = ", ".join(str(self.keys.index(key) + 1) for key in keys)
        return f" [{numbers}]" if numbers else ""


def methods(facts: MethodsFacts) -> MethodsText:
    """Write what was done in words that can go into a paper.

    Parameters
    ----------
    facts
        Settings of the run.

    Returns
    -------
    MethodsText
        Paragraphs and the references they name, in order of appearance.
    """
    known = references()
    cite = _Citations()
    paragraphs = [_data(facts, cite)]
    if facts.transform == "deformable":
        paragraphs.append(_deformable(facts, cite))
    paragraphs += [_output(facts, cite), _software(facts, cite)]
    return MethodsText(tuple(paragraphs), tuple(known[key] for key in cite.keys))


def references() -> dict[str, str]:
    """Load the reference of each key."""
    text = (
        resources.files(__package__)
        .joinpath("templates")
        .joinpath("references.json")
        .read_text(encoding="utf-8")
    )
    content: dict[str, str] = json.loads(text)
    return content


def methods_markdown(facts: MethodsFacts) -> str:
    """Write the methods and references as Markdown, for ``logs/CITATION.md``."""
    content = methods(facts)
    numbered = [f"{number}. {entry}" for number, entry in enumerate(content.references, start=1)]
    return "\n\n".join(["# Methods", *content.paragraphs, "## References", "\n".join(numbered)]) + "\n"


def _data(facts: MethodsFacts, cite: _Citations) -> str:
    images = (
        f"{_list(facts.moving_contrasts)} images were registered to {_list(facts.fixed_contrasts)} images"
    )
    return (
        f"{images} with nodereg {facts.version}, a BIDS App{cite('gorgolewski2016', 'gorgolewski2017')}. "
        "Each pair was aligned by a rigid"
        f"{'' if facts.transform == 'rigid' else ' and then an affine'} transform from several starting "
        f"positions, on a common isotropic grid of {facts.spacing_mm:g} mm, or of the fixed image's finest "
        "voxel edge where that is larger."
    )


def _deformable(facts: MethodsFacts, cite: _Citations) -> str:
    words, keys = DESCRIPTORS[facts.descriptor]
    iterations = " + ".join(str(count) for count in facts.iterations)
    levels = "from coarse to fine" if len(facts.iterations) > 1 else "on one level"
    squaring = "squaring" in facts.solver
    flow = (
        f"scaling and squaring ({facts.steps} squarings){cite('arsigny2006')}"
        if squaring
        else f"the {facts.solver} scheme in {facts.steps} step{'' if facts.steps == 1 else 's'}"
    )
    return (
        "The deformation is the flow at time 1 of a stationary velocity field, represented by "
        f"{facts.velocity} and optimised for each pair on its own, without training"
        f"{cite('rodriguez2025', 'wu2022', 'chen2018')}; the inverse is the flow of the negative field. The "
        f"flow was integrated by {flow}. Similarity was measured by {words}{cite(*keys)}; a barrier against "
        f"Jacobian determinants below {facts.folding_epsilon:g} and a penalty on {_list(facts.penalties)} "
        f"keep the map smooth and invertible. Optimisation ran {levels} (at most {iterations} iterations)."
    )


def _output(facts: MethodsFacts, cite: _Citations) -> str:
    moved = "The moving image was interpolated once, from its original voxels, through the whole transform."
    if facts.transform != "deformable":
        return f"{moved} Normalised mutual information{cite('studholme1999')} was measured in the fixed mask."
    return (
        f"{moved} Folding was judged by ten finite-difference Jacobian determinants at every voxel of the "
        f"fixed mask{cite('liu2024')}, agreement of forward and inverse map by their composition, and "
        f"alignment by normalised mutual information{cite('studholme1999')} before and after."
    )


def _software(facts: MethodsFacts, cite: _Citations) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.software)
    return (
        f"Data were queried with PyBIDS{cite('yarkoni2019')} and read with NiBabel{cite('nibabel')}; "
        f"computation used PyTorch{cite('paszke2019')}{f' (versions: {versions})' if versions else ''}."
    )


def _list(words: tuple[str, ...]) -> str:
    """Join words as in a sentence."""
    unique = list(dict.fromkeys(words))
    return " and ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else "".join(unique)
