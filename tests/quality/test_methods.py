from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bids_nodereg.quality.methods import DESCRIPTORS, methods, methods_markdown, references
from tests.quality.pages import FACTS


@pytest.mark.parametrize("transform", ["rigid", "affine", "deformable"])
@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_citations_are_numbered_in_order_and_each_has_its_reference(transform: str, descriptor: str) -> None:
    text = methods(replace(FACTS, transform=transform, descriptor=descriptor))

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


def test_a_rigid_run_does_not_claim_a_deformation() -> None:
    text = " ".join(methods(replace(FACTS, transform="rigid")).paragraphs)

    assert "velocity" not in text
    assert "affine" not in text


def test_every_reference_is_cited_by_some_setting() -> None:
    texts = [
        methods(replace(FACTS, descriptor=descriptor, solver=solver))
        for descriptor in DESCRIPTORS
        for solver in ("rk4", "scaling and squaring")
    ]

    assert {entry for text in texts for entry in text.references} == set(references().values())


def test_markdown_ends_with_the_numbered_list() -> None:
    lines = methods_markdown(FACTS).splitlines()

    assert lines[0] == "# Methods"
    assert lines[-1].startswith(f"{len(methods(FACTS).references)}. ")
