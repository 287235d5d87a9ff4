"""What the methods text is told of a run and of a pair."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_nodereg.app.facts import methods_facts
from bids_nodereg.app.find_brain import FOUND
from bids_nodereg.app.inputs import Inputs
from bids_nodereg.bids.image import Image
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.templates import Template
from bids_nodereg.config import Settings
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.prepare import Prepared
from bids_nodereg.imaging.volume import Volume
from bids_nodereg.quality.methods import BRAIN_MASKS, methods

GRID = Grid((20, 22, 18), np.diag([2.0, 2.0, 2.0, 1.0]))


def image(suffix: str) -> Image:
    name = f"sub-01_{suffix}.nii.gz"
    return Image(Path(name), f"sub-01/anat/{name}", "01", None, suffix, ())


PAIR = Pair("within-session", image("T1w"), image("T2w"))
MASKED = replace(PAIR, fixed_mask=Path("a.nii.gz"), moving_mask=Path("b.nii.gz"))


def prepared(origin: str, *, stripped: bool = False, unbiased: bool = False) -> Prepared:
    mask = np.zeros(GRID.shape, bool)
    mask[5:15, 5:15, 5:15] = True
    noise = np.random.default_rng(0).uniform(1, 5, GRID.shape)
    data = np.where(mask, 100.0, 0.0 if stripped else noise).astype(np.float32)
    volume = Volume(data, GRID, Path("x.nii.gz"), np.dtype(np.int16), ())
    return Prepared(volume, mask, origin, (0.0, 100.0), None, data if unbiased else None)


@pytest.mark.parametrize(
    ("origin", "stripped", "key"),
    [
        ("given: a.nii.gz", False, "given"),
        (f"{FOUND} deepbet", False, "deepbet"),
        (f"{FOUND} our head template, fitted (correlation 0.91)", False, "template"),
        (f"{FOUND} mri_synthstrip", False, "synthstrip"),
        (f"{FOUND} hd-bet", False, "hd-bet"),
        ("head found by Otsu's threshold (31.2), gaps closed, largest piece, holes filled", False, "head"),
        ("all voxels that stand out from the constant background (0)", True, "foreground"),
    ],
)
def test_where_a_mask_came_from_is_told_by_its_words(origin: str, stripped: bool, key: str) -> None:
    inputs = Inputs(prepared(origin, stripped=stripped), prepared("given: b.nii.gz"))

    facts = methods_facts(Settings(), [PAIR], inputs)

    assert set(facts.brain_masks) == {key, "given"}
    assert BRAIN_MASKS[key][0] in " ".join(methods(facts).paragraphs)


def test_only_what_was_corrected_is_said_to_be() -> None:
    inputs = Inputs(prepared("given: a"), prepared("given: b", unbiased=True))

    assert methods_facts(Settings(), [PAIR], inputs).bias_corrected == ("moving images",)
    plain = Inputs(inputs.fixed, inputs.fixed)
    assert "bias field" not in " ".join(methods(methods_facts(Settings(), [PAIR], plain)).paragraphs)


@pytest.mark.parametrize(
    ("settings", "pair", "masks"),
    [
        (Settings(brain_mask="template"), PAIR, ("foreground", "template")),
        (Settings(brain_mask="hd-bet"), replace(MASKED, moving_mask=None), ("given", "foreground", "hd-bet")),
        (Settings(brain_mask="none"), PAIR, ("foreground", "head")),
        (Settings(brain_mask="template"), MASKED, ("given",)),
    ],
)
def test_before_anything_is_read_the_settings_tell(settings, pair, masks) -> None:
    assert methods_facts(settings, [pair]).brain_masks == masks


@pytest.mark.parametrize(
    ("choice", "words"),
    [("auto", ("images that are not skull-stripped",)), ("n4", ("all images",)), ("none", ())],
)
def test_whose_bias_field_will_be_corrected(choice, words) -> None:
    assert methods_facts(Settings(bias_correction=choice), [PAIR]).bias_corrected == words


def test_templates_and_composed_pairs_are_told_apart() -> None:
    theirs = Template("MNIPediatricAsym+2", (image("T1w"),), None, (), "bids:templateflow:")
    mine = Template("mine", (image("T1w"),), None, (), "bids:mine:", folder=Path("mine"))
    pairs = [PAIR]
    for template in (mine, theirs):
        pairs.append(Pair("to-template", image("T1w"), image("T1w"), template=template))
        pairs.append(Pair("to-template", image("T1w"), image("FLAIR"), template=template, via=image("T1w")))

    facts = methods_facts(Settings(), pairs)

    assert facts.templates == ("MNIPediatricAsym+2", "mine")
    assert facts.templateflow == ("MNIPediatricAsym+2",)
    assert (facts.moving_contrasts, facts.composed) == (("T1w", "T2w"), ("FLAIR",))


def test_a_run_tells_what_it_did(done):
    section = json.loads((done.out / "sub-01/figures/sub-01_from-T2w_to-T1w_report.json").read_text())
    assert section["facts"]["brain_masks"] == ["foreground", "given"]
    assert section["facts"]["bias_corrected"] == []
    page = (done.out / "sub-01.html").read_text("utf-8")
    assert "masks that were given" in page
    assert "N4" not in page.split('id="methods"')[1]
    text = (done.out / "logs" / "CITATION.md").read_text()
    assert "masks that were given" in text
    assert "N4" not in text  # no image needed it
