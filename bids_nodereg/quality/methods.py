"""The methods paragraph with its references, for reports and for ``logs/CITATION.md``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bids_nodereg.quality.records import MethodsFacts

_MIND_SSC = "the modality independent neighbourhood descriptor in its self-similarity form (MIND-SSC)"
_LEARNED = (
    "the features of a small network, trained once by contrastive learning on painted label maps and the "
    "same for every pair"
)

SIMILARITIES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mind": ("the modality independent neighbourhood descriptor (MIND)", ("heinrich2012",)),
        "mind-ssc": (_MIND_SSC, ("heinrich2012", "heinrich2013")),
        "contrastive": (_LEARNED, ("oord2018", "mok2024")),
        "contrastive+mind-ssc": (
            f"{_LEARNED}, together with {_MIND_SSC}",
            ("oord2018", "mok2024", "heinrich2012", "heinrich2013"),
        ),
        "lmi": ("the mutual information of intensities within patches", ("mattes2003",)),
        "lncc": ("the local correlation of intensities", ("avants2008",)),
        "mse": ("the squared difference of intensities", ()),
    }
)
"""Words and references of each choice of ``--descriptor``."""

BRAIN_MASKS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "given": ("masks that were given", ()),
        "foreground": ("the foreground of images that are skull-stripped", ()),
        "template": (
            "a template of the head with its brain mask (Colin 27), registered to the image",
            ("holmes1998",),
        ),
        "deepbet": ("deepbet", ("fisch2024",)),
        "synthstrip": ("SynthStrip", ("hoopes2022",)),
        "hd-bet": ("HD-BET", ("isensee2019",)),
        "head": ("the foreground of the whole head, where there was no brain mask", ()),
    }
)
"""Words and references of each origin of a mask."""

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "MNI152NLin2009cAsym": "fonov2011",
        "MNI152NLin2009cSym": "fonov2011",
        "MNI152NLin6Asym": "evans2012",
        "MNI152NLin6Sym": "evans2012",
        "MNIPediatricAsym": "fonov2011",
        "MNIColin27": "holmes1998",
    }
)
"""Reference of each template that has one we know; others are named only."""


OWN_FACTS = (
    "fixed_contrasts",
    "moving_contrasts",
    "bias_corrected",
    "brain_masks",
    "lesion_masks",
    "templates",
    "templateflow",
    "composed",
)
"""What may differ between pairs of one text."""


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
    paragraphs += filter(None, [_preparation(facts, cite)])
    if facts.transform == "deformable" and facts.moving_contrasts:
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


def by_settings(each: Iterable[MethodsFacts | None]) -> list[MethodsFacts]:
    """What pairs share, once for each set of settings, with the contrasts of all that share it."""
    groups: dict[MethodsFacts, list[MethodsFacts]] = {}
    nothing: dict[str, Any] = dict.fromkeys(OWN_FACTS, ())
    for facts in each:
        if facts is not None:
            groups.setdefault(replace(facts, **nothing), []).append(facts)
    return [replace(shared, **_united(group)) for shared, group in groups.items()]


def _united(group: Sequence[MethodsFacts]) -> dict[str, Any]:
    """Give what is true of any pair of a group."""
    return {
        name: tuple(sorted({word for facts in group for word in getattr(facts, name)})) for name in OWN_FACTS
    }


def methods_markdown(each: Sequence[MethodsFacts]) -> str:
    """Write the methods and references as Markdown, for ``logs/CITATION.md``, one text a set of settings."""
    return "\n\n".join(part for facts in each for part in _markdown(methods(facts))) + "\n"


def _markdown(content: MethodsText) -> list[str]:
    numbered = [f"{number}. {entry}" for number, entry in enumerate(content.references, start=1)]
    parts = ["# Methods", *content.paragraphs, "## References", "\n".join(numbered)]
    return [part.replace("<", "&lt;") for part in parts]  # viewers of Markdown pass HTML on


def _data(facts: MethodsFacts, cite: _Citations) -> str:
    program = f" with nodereg {facts.version}, a BIDS App{cite('gorgolewski2016', 'gorgolewski2017')}"
    if not facts.moving_contrasts:
        return f"{_composition(facts, f'{program},')}{_templates(facts, cite)}"
    fixed = [f"{_list(facts.fixed_contrasts)} images"] if facts.fixed_contrasts else []
    fixed += [_the_templates(facts)] if facts.templates else []
    return (
        f"{_list(facts.moving_contrasts)} images were registered to {_list(tuple(fixed))}{program}."
        f"{_templates(facts, cite)} Each {'of these pairs' if facts.composed else 'pair'} was aligned by a "
        f"rigid{'' if facts.transform == 'rigid' else ' and then an affine'} transform from several starting "
        f"positions, on a common isotropic grid of {facts.spacing_mm:g} mm, or of the fixed image's finest "
        f"voxel edge where that is larger.{f' {_composition(facts)}' if facts.composed else ''}"
    )


def _composition(facts: MethodsFacts, program: str = "") -> str:
    """How images reached a template whose pairs were not searched for."""
    return (
        f"{_list(facts.composed)} images were brought to {_the_templates(facts)}{program} through the "
        "reference image of their participant, by the composition of both maps and without a search of their "
        "own."
    )


def _the_templates(facts: MethodsFacts) -> str:
    return "the template" if len(facts.templates) == 1 else "the templates"


def _templates(facts: MethodsFacts, cite: _Citations) -> str:
    """Which templates were the fixed images; empty for none."""
    if not facts.templates:
        return ""
    # A cohort is part of the name after a plus, and has the reference of its template.
    keys = {name: TEMPLATES.get(name.split("+")[0]) for name in facts.templates}
    names = tuple(f"{name}{cite(key) if key else ''}" for name, key in keys.items())
    some = f"of which {_list(facts.templateflow)} came " if facts.templateflow != facts.templates else ""
    origin = f", {some}from TemplateFlow{cite('ciric2022')}" if facts.templateflow else ""
    return f" The template{' was' if len(names) == 1 else 's were'} {_list(names)}{origin}."


def _preparation(facts: MethodsFacts, cite: _Citations) -> str:
    """What was done to the images before; empty for nothing."""
    sentences = []
    if facts.bias_corrected:
        sentences.append(
            f"The bias field of {_list(facts.bias_corrected)} was estimated by N4{cite('tustison2010')} in "
            f"SimpleITK{cite('lowekamp2013', 'mccormick2014')} and divided out of the intensities that were "
            "compared; what was written was interpolated from the original."
        )
    if facts.brain_masks:
        origins = tuple(
            f"{words}{cite(*keys)}" for words, keys in (BRAIN_MASKS[name] for name in facts.brain_masks)
        )
        sentences.append(f"The region that was compared came from {_list(origins)}.")
    return " ".join(sentences)


def _deformable(facts: MethodsFacts, cite: _Citations) -> str:
    sentences = [part(facts, cite) for part in (_map, _objective, _lesions, _optimisation)]
    return " ".join(filter(None, sentences))


def _map(facts: MethodsFacts, cite: _Citations) -> str:
    """What the deformation is, and how it comes from the velocity."""
    parts = facts.time_parts
    field = (
        "stationary velocity field, represented by"
        if parts == 1
        else (
            f"velocity field that is constant in each of {parts} equal parts of the time, each represented by"
        )
    )
    text = (
        f"The deformation is the flow at time 1 of a {field} {facts.velocity} and optimised for each pair on "
        f"its own, without training{cite('rodriguez2025', 'wu2022', 'chen2018')}; the inverse is the flow "
        f"{'of the negative field' if parts == 1 else 'back in time'}. The flow was integrated by"
    )
    if "squaring" in facts.solver:
        return f"{text} scaling and squaring ({facts.steps} squarings){cite('arsigny2006')}."
    return f"{text} the {facts.solver} scheme in {facts.steps} step{'' if facts.steps == 1 else 's'}."


def _objective(facts: MethodsFacts, cite: _Citations) -> str:
    words, keys = SIMILARITIES[facts.descriptor]
    compared = f"Similarity was measured by {words}{cite(*keys)}"
    if facts.information_weight > 0:
        words, keys = SIMILARITIES["lmi"]
        compared += f" and, with a weight of {facts.information_weight:g}, {words}{cite(*keys)}"
    both = (
        ", between the fixed and the warped moving image and between the moving and the inversely warped "
        "fixed image, with equal weight"
    )
    space = f" The penalty on the gradient varied in space with {_list(facts.stiffness)}."
    return (
        f"{compared}{both if facts.symmetric else ''}; a barrier against "
        f"Jacobian determinants below {facts.folding_epsilon:g} and a penalty on {_list(facts.penalties)} "
        f"keep the map smooth and invertible.{space if facts.stiffness else ''}"
    )


def _lesions(facts: MethodsFacts, cite: _Citations) -> str:
    """Which masks took part in cost-function masking; empty for none."""
    if not facts.lesion_masks:
        return ""
    return (
        f"What lies in a lesion mask of the {_list(facts.lesion_masks)} image was left out of the comparison "
        f"(cost-function masking{cite('brett2001')})."
    )


def _optimisation(facts: MethodsFacts, cite: _Citations) -> str:
    iterations = " + ".join(str(count) for count in facts.iterations)
    levels = "from coarse to fine" if len(facts.iterations) > 1 else "on one level"
    search = (
        "The start was a search over whole displacements on a coarse lattice, made smooth by coupled convex "
        f"optimisation{cite('heinrich2014')}. "
        if facts.captured
        else ""
    )
    return f"{search}Adam{cite('kingma2015')} optimised it {levels} (at most {iterations} iterations)."


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
        f"Data were queried with PyBIDS{cite('yarkoni2019')} and images read with NiBabel{cite('nibabel')}; "
        "computation used "
        f"PyTorch{cite('paszke2019')}, NumPy{cite('harris2020')} and SciPy{cite('virtanen2020')}"
        f"{f' (versions: {versions})' if versions else ''}."
    )


def _list(words: tuple[str, ...]) -> str:
    """Join words as in a sentence."""
    unique = list(dict.fromkeys(words))
    return " and ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else "".join(unique)
