"""What the methods text says of a run or a pair: from settings and what was found to words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg import __version__
from bids_nodereg.app.find_brain import FOUND
from bids_nodereg.app.inputs import GIVEN, looks_skull_stripped
from bids_nodereg.app.mask_programs import PROGRAMS
from bids_nodereg.app.network_mask import is_installed
from bids_nodereg.app.provenance import software
from bids_nodereg.quality.records import MethodsFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.config import Settings
    from bids_nodereg.imaging.prepare import Prepared
    from bids_nodereg.registration.settings import LossWeights

VELOCITY_WORDS = {
    "decoder": "a latent grid and a convolutional decoder",
    "nodeo": "a convolutional coordinate network",
    "grid": "a grid of vectors",
}


def methods_facts(settings: Settings, pairs: Sequence[Pair], inputs: Inputs | None = None) -> MethodsFacts:
    """What the methods paragraph has to know.

    Parameters
    ----------
    settings
        Of the run.
    pairs
        What is registered: tell contrasts, templates, and which masks and maps there are.
    inputs
        What was read of a single pair, and tells how it was prepared; without it the text says what the
        settings ask for.
    """
    registration = settings.registration
    templates = {pair.template.space: pair.template for pair in pairs if pair.template is not None}
    return MethodsFacts(
        version=__version__,
        fixed_contrasts=tuple(sorted({pair.fixed.suffix for pair in pairs if pair.template is None})),
        moving_contrasts=tuple(sorted({pair.moving.suffix for pair in pairs if pair.via is None})),
        transform=settings.transform,
        descriptor=registration.descriptor.name,
        velocity=VELOCITY_WORDS[registration.velocity.name],
        solver="scaling and squaring"
        if registration.solver.scheme == "squaring"
        else registration.solver.scheme,
        steps=registration.solver.steps,
        iterations=tuple(level.iterations for level in registration.levels),
        spacing_mm=settings.working_resolution_mm,
        folding_epsilon=registration.weights.folding_epsilon,
        penalties=_penalties(registration.weights),
        symmetric=registration.symmetric,
        time_parts=registration.velocity.time_parts,
        captured=registration.capture.reach > 0,
        stiffness=_stiffness_words(registration.weights, pairs),
        lesion_masks=tuple(_sides_with_lesions(pairs)),
        information_weight=registration.descriptor.added_information,
        bias_corrected=_bias_corrected(settings, inputs),
        brain_masks=_masks_wanted(settings, pairs) if inputs is None else _masks_used(inputs),
        templates=tuple(sorted(templates)),
        templateflow=tuple(sorted(name for name, template in templates.items() if template.folder is None)),
        composed=tuple(sorted({pair.moving.suffix for pair in pairs if pair.via is not None})),
        software=tuple(software().items()),
    )


def _bias_corrected(settings: Settings, inputs: Inputs | None) -> tuple[str, ...]:
    """Whose bias field was divided out, in words."""
    if inputs is None:
        words = {"auto": ("images that are not skull-stripped",), "n4": ("all images",)}
        return words.get(settings.bias_correction, ())
    sides = {"fixed images": inputs.fixed, "moving images": inputs.moving}
    return tuple(name for name, prepared in sides.items() if prepared.unbiased is not None)


def _masks_wanted(settings: Settings, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Where the masks of a run come from, before an image is read."""
    masks = [mask for pair in pairs for mask in (pair.fixed_mask, pair.moving_mask)]
    given = ("given",) if any(mask is not None for mask in masks) else ()
    if all(mask is not None for mask in masks):
        return given
    method = settings.brain_mask
    if method == "auto":
        method = "deepbet" if is_installed() else "template"
    return (*given, "foreground", "head" if method == "none" else method)


def _masks_used(inputs: Inputs) -> tuple[str, ...]:
    """Where the masks of a pair came from."""
    return tuple(sorted({_mask_used(inputs.fixed), _mask_used(inputs.moving)}))


def _mask_used(prepared: Prepared) -> str:
    """Where a mask came from, by the words it was given there: a key of ``methods.BRAIN_MASKS``."""
    origin = prepared.mask_origin
    if origin.startswith(GIVEN):
        return "given"
    if origin.startswith(FOUND):
        named = {"deepbet": "deepbet", **{words[0]: name for name, words in PROGRAMS.items()}}
        return next((name for word, name in named.items() if word in origin), "template")
    return "foreground" if looks_skull_stripped(prepared) else "head"


def _penalties(weights: LossWeights) -> tuple[str, ...]:
    """What the weights above zero penalise, in words."""
    words = {
        f"the gradient of the {weights.gradient_of}": weights.gradient,
        "the magnitude of the velocity": weights.magnitude,
    }
    return tuple(name for name, weight in words.items() if weight > 0) or ("nothing else",)


def _sides_with_lesions(pairs: Sequence[Pair]) -> Iterator[str]:
    """Which of the images had lesion masks: ``fixed``, ``moving``."""
    if any(pair.fixed_lesion is not None for pair in pairs):
        yield "fixed"
    if any(pair.moving_lesion is not None for pair in pairs):
        yield "moving"


def _stiffness_words(weights: LossWeights, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What the gradient penalty varied with in space."""
    own = ("the local structure of both images",) if weights.spatial == "confidence" else ()
    return (*own, *(["a given map"] if any(pair.stiffness is not None for pair in pairs) else []))
