"""What the README says must be so."""

from __future__ import annotations

import re
from pathlib import Path

from bids_nodereg.options import build_parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_option_of_the_table_exists():
    table = re.findall(r"^\| (`-.*?) \|", README, flags=re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]+", " ".join(table)))
    known = {name for action in build_parser()._actions for name in action.option_strings}
    assert len(named) > 25
    assert named <= known


def test_every_option_is_in_the_table():
    """Under one of its spellings, short or long."""
    table = " ".join(re.findall(r"^\| (`-.*?) \|", README, flags=re.MULTILINE))
    actions = [action for action in build_parser()._actions if action.option_strings]
    told = set(re.findall(r"--[a-z][a-z-]+", table))
    assert [action.option_strings for action in actions if told.isdisjoint(action.option_strings)] == []


def test_the_parts_are_given_to_ants_in_the_order_that_it_needs():
    """The first transform listed acts first on the points of the fixed grid: the displacement."""
    block = README[README.index("the same from the parts") :]
    assert 0 < block.index("desc-warp_xfm") < block.index("desc-affine_xfm")


def test_every_link_to_a_file_leads_there():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    root = Path(__file__).parent.parent
    assert len(links) > 5
    assert [link for link in links if not (root / link).exists()] == []
