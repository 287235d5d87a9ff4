from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bids_nodereg.quality.methods import (
    BRAIN_MASKS,
    SIMILARITIES,
    TEMPLATES,
    methods,
    methods_markdown,
    references,
)
from tests.quality.pages import FACTS


@pytest.mark.parametrize("transform", ["rigid", "affine", "deformable"])
@pytest.mark.parametrize("solver", ["rk4", "scaling and squaring"])
@pytest.mark.parametrize("descriptor", SIMILARITIES)
def test_citations_are_numbered_in_order_and_each_has_its_reference(
    transform: str, descriptor: str, solver: str
) -> None:
    facts = replace(FACTS, transform=transform, descriptor=descriptor, solver=solver)
    text = methods(replace(facts, captured=True, lesion_masks=("fixed",)))

    found = re.findall(r"\[([\d, ]+)\]", " ".join(text.paragraphs))
    numbers = [int(number) for group in found for number in group.split(",")]
    first_seen = list(dict.fromkeys(numbers))
    assert first_seen == list(range(1, len(text.references) + 1))


def test_the_text_says_what_was_set() -> None:
    text = " ".join(methods(FACTS).paragraphs)

    for words in (
        "T2w and FLAIR images",
        "rk4 scheme in 2 steps",
        "MIND-SSC",
        "100 + 50",
        "1.5 mm",
        "PyTorch 2.9",
    ):
        assert words in text
    squared = " ".join(methods(replace(FACTS, solver="scaling and squaring", steps=6)).paragraphs)
    assert "(6 squarings)" in squared


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symmetric": True}, "inversely warped fixed image, with equal weight"),
        ({"time_parts": 3}, "constant in each of 3 equal parts of the time"),
        ({"captured": True}, "a search over whole displacements on a coarse lattice"),
        ({"stiffness": ("a given map",)}, "The penalty on the gradient varied in space with a given map."),
        ({"lesion_masks": ("fixed",)}, "in a lesion mask of the fixed image was left out of the comparison"),
        ({"lesion_masks": ("fixed", "moving")}, "a lesion mask of the fixed and moving image was"),
        ({"bias_corrected": ("fixed images",)}, "The bias field of fixed images was estimated by N4 ["),
        ({"brain_masks": ("given", "deepbet")}, "came from masks that were given and deepbet ["),
        (
            {"templates": ("MNI152NLin6Asym", "own"), "templateflow": ("MNI152NLin6Asym",)},
            "registered to T1w images and the templates with nodereg",
        ),
        ({"templates": ("own",)}, "The template was own."),
        (
            {"templates": ("MNI152NLin6Asym", "own"), "templateflow": ("MNI152NLin6Asym",)},
            "own, of which MNI152NLin6Asym came from TemplateFlow [",
        ),
        ({"templates": ("own",), "templateflow": ("own",)}, "The template was own, from TemplateFlow ["),
        ({"templates": ("MNIPediatricAsym+2",)}, "The template was MNIPediatricAsym+2 [3]."),
        ({"templates": ("MNIColin27",), "composed": ("PDw",)}, "by the composition of both maps"),
        ({"descriptor": "lmi"}, "by the mutual information of intensities within patches"),
        ({"descriptor": "contrastive+mind-ssc"}, "label maps and the same for every pair, together with the"),
    ],
)
def test_each_choice_is_said_where_it_was_made_and_only_there(changes: dict[str, object], words: str) -> None:
    assert words not in " ".join(methods(FACTS).paragraphs)
    assert words in " ".join(methods(replace(FACTS, **changes)).paragraphs)


def test_a_field_that_changes_in_time_is_not_called_stationary() -> None:
    text = " ".join(methods(replace(FACTS, time_parts=2)).paragraphs)

    assert "stationary" not in text
    assert "negative field" not in text


def test_a_rigid_run_does_not_claim_a_deformation() -> None:
    text = " ".join(methods(replace(FACTS, transform="rigid")).paragraphs)

    assert "velocity" not in text
    assert "affine" not in text


def test_every_reference_is_cited_by_some_setting() -> None:
    everything = replace(
        FACTS,
        captured=True,
        lesion_masks=("moving",),
        bias_corrected=("all images",),
        brain_masks=tuple(BRAIN_MASKS),
        templates=tuple(TEMPLATES),
        templateflow=tuple(TEMPLATES),
    )
    texts = [
        methods(replace(everything, descriptor=descriptor, solver=solver))
        for descriptor in SIMILARITIES
        for solver in ("rk4", "scaling and squaring")
    ]

    assert {entry for text in texts for entry in text.references} == set(references().values())


def test_every_reference_can_be_found() -> None:
    """Authors, a year, and a DOI or the number of a preprint."""
    for key, entry in references().items():
        assert re.search(r"doi:10\.\d{4,}/\S+$|arXiv:\d{4}\.\d{4,5}", entry), key
        assert re.match(r"[A-Z][\w' -]+ [A-Z]+,? |van ", entry), key
        assert key == "nibabel" or re.search(rf"\b{key[-4:]}\b", entry), key


def test_no_search_is_claimed_for_composed_maps() -> None:
    both = replace(FACTS, templates=("own",), composed=("PDw",))
    mixed = " ".join(methods(both).paragraphs)
    alone = " ".join(methods(replace(both, fixed_contrasts=(), moving_contrasts=())).paragraphs)

    assert "T2w and FLAIR images were registered" in mixed
    assert "Each of these pairs was aligned by a rigid" in mixed
    assert "PDw images were brought to the template through the reference image" in mixed
    assert "PDw images were brought to the template with nodereg" in alone
    for words in ("was aligned", "starting positions", "optimised", "registered to"):
        assert words not in alone


def test_a_template_alone_is_the_fixed_image() -> None:
    text = " ".join(methods(replace(FACTS, fixed_contrasts=(), templates=("own",))).paragraphs)

    assert "images were registered to the template with" in text


def test_markdown_ends_with_the_numbered_list() -> None:
    lines = methods_markdown([FACTS]).splitlines()

    assert lines[0] == "# Methods"
    assert lines[-1].startswith(f"{len(methods(FACTS).references)}. ")
