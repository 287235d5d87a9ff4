"""The pages of docs/ hang together: each is reached from the index, and no link is dead."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from bids_nodereg.options import build_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
AT_THE_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
CODE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


@pytest.fixture(scope="module")
def pages():
    if not DOCS.is_dir():
        pytest.skip("only in a checkout")
    found = [ROOT / name for name in AT_THE_ROOT] + sorted(DOCS.rglob("*.md"))
    return {path: CODE.sub("", path.read_text(encoding="utf-8")) for path in found}


def anchors(text: str) -> set[str]:
    """Names that a page's headings are given: small letters, no punctuation, hyphens between words."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}


def targets(page: Path, text: str) -> list[tuple[Path, str]]:
    """Files and places in them that the links of a page lead to."""
    split = [link.partition("#") for link in LINK.findall(text)]
    return [((page.parent / unquote(name)).resolve() if name else page, place) for name, _, place in split]


def test_no_link_is_dead(pages):
    dead = [
        f"{page.relative_to(ROOT)}: {target}{'#' * bool(place)}{place}"
        for page, text in pages.items()
        for target, place in targets(page, text)
        if not target.exists() or (place and target in pages and place not in anchors(pages[target]))
    ]
    assert dead == []


def test_every_page_is_reached_from_the_index(pages):
    """By links, one page after the other; a link to a folder shows what lies in it."""
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target, _ in targets(page, pages.get(page, "")):
            waiting += sorted(target.rglob("*.md")) if target.is_dir() else [target]
    assert [
        str(page.relative_to(ROOT)) for page in pages if page.is_relative_to(DOCS) and page not in reached
    ] == []


def test_a_dead_link_would_be_seen(pages):
    page = DOCS / "README.md"
    assert targets(page, "[a](nothing.md#here) [b](https://x.y)") == [(DOCS / "nothing.md", "here")]
    assert not (DOCS / "nothing.md").exists()
    assert anchors("## Lesions and `stiffness` (1)") == {"lesions-and-stiffness-1"}


@pytest.fixture(scope="module")
def babs(pages):
    """Settings of docs/babs.md, block by block."""
    text = (DOCS / "babs.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in YAML_BLOCK.findall(text)]


def test_the_arguments_that_babs_gives_are_understood(babs):
    words = ["in", "out", "participant"]
    given = [pair for block in babs for pair in block.get("bids_app_args", {}).items()]
    assert len(given) > 5
    for name, value in given:
        words += [value, "sub-01"] if name.startswith("$") else [name, *value.split()]
    options = build_parser().parse_args(words)
    assert options.participant_label == ["sub-01"]
    assert options.session_label == ["sub-01"]


def test_the_messages_that_babs_looks_for_are_messages_of_ours(babs):
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bids_nodereg").rglob("*.py"))
    looked_for = babs[0]["alert_log_messages"]["stderr"]
    assert len(looked_for) > 3
    assert [message for message in looked_for if message not in sources] == []


def test_the_folder_that_babs_zips_has_our_version(babs):
    version = (ROOT / "version").read_text(encoding="utf-8").strip().replace(".", "-")
    text = (DOCS / "babs.md").read_text(encoding="utf-8")
    assert babs[0]["zip_foldernames"] == {"nodereg": version}
    assert set(re.findall(r"nodereg-(\d+-\d+-\d+)", text)) == {version}
