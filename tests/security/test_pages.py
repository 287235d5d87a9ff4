"""Whatever a data set holds, pages show it as text: nothing of it runs, loads or styles."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

import pytest

from bids_nodereg.bids.output_texts import citation_text, readme_text
from bids_nodereg.errors import DataError
from bids_nodereg.quality.cohort import CohortRow
from bids_nodereg.quality.figures.charts import Trace, write_convergence
from bids_nodereg.quality.group_report import render_group
from bids_nodereg.quality.methods import methods_markdown
from bids_nodereg.quality.records import FailedPair
from bids_nodereg.quality.report import render_subject
from bids_nodereg.quality.viewer import render_viewer, viewer_library
from tests.quality.browser import PROGRAMS, QUIET
from tests.quality.pages import FACTS, Page, pair_report
from tests.quality.test_viewer import LIBRARY, viewed
from tests.security.hostile import ALL, TEXTS, poisoned

if TYPE_CHECKING:
    from pathlib import Path

KEYS = frozenset({"key", "figures", "facts", "status"})
"""Fields that hold words of this program, and no text of others."""
PLAIN = "plain words"


def subject_page(folder: Path, text: str) -> Path:
    pair = poisoned(pair_report(viewer="sub-01/figures/x_viewer.html"), text, but=KEYS)
    pair = replace(pair, facts=poisoned(FACTS, text, but=frozenset({"descriptor", "solver", "transform"})))
    pair = replace(pair, settings={f"Preset{text}": text}, provenance={f"Device{text}": text})
    (folder / "figures").mkdir(exist_ok=True)
    trace = Trace([2.0, 1.0], {"data": [1.0, 1.0]}, [(0, "coarse")])  # our own words, whatever the data
    figure = write_convergence(folder / "figures" / "c.svg", trace)
    pair = replace(pair, figures={"convergence": f"figures/{figure.name}"})
    failed = poisoned(FailedPair("bad", "PDw", "a", "b", "error", "log"), text)
    return render_subject(
        f"sub-01{text}", [pair], folder / "subject.html", version="1", failed=[failed], run=text
    )


def group_page(folder: Path, text: str) -> Path:
    rows = [
        CohortRow(
            f"sub-{number}{text}", "rule", f"T2w{text}", f"T1w{text}", "check", (text,), {"nmi_after": 1.1}
        )
        for number in range(3)
    ]
    rows.append(replace(rows[0], pair="sub-4", verdict=text))
    return render_group(rows, folder / "group.html", version="1")


def viewer_page(folder: Path, text: str, library: str = LIBRARY) -> Path:
    pair = poisoned(viewed(), text)
    return render_viewer(pair, folder / "viewer.html", library=library, version="1")


PAGES = {"report of a participant": subject_page, "page of a cohort": group_page, "viewer": viewer_page}


def anatomy(text: str) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    """Elements of a page with the names of their attributes, and what it loads."""
    page = Page(text)
    return page.elements, page.loads


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("case", TEXTS)
def test_a_page_has_the_same_elements_whatever_its_texts(tmp_path, kind, case, outcome):
    """Read by a parser: a hostile text adds no element, no attribute and no address to a page."""
    for name in ("harmless", "hostile"):
        (tmp_path / name).mkdir()
    harmless = PAGES[kind](tmp_path / "harmless", PLAIN).read_text("utf-8")
    hostile = PAGES[kind](tmp_path / "hostile", TEXTS[case]).read_text("utf-8")

    (expected, _), (found, loads) = anatomy(harmless), anatomy(hostile)
    assert found == expected
    assert all(address.startswith("data:image/") for address in loads)
    assert not [link for link in Page(hostile).links if re.match(r"\s*(javascript|data|\w+:|//)", link)]
    outcome("hostile", f"{case} in every text of a page", "shown as text")


@pytest.mark.parametrize("kind", PAGES)
def test_the_policy_of_a_page_names_no_origin_and_nothing_unsafe(tmp_path, kind):
    text = PAGES[kind](tmp_path, PLAIN).read_text("utf-8")
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert found is not None
    policy = unescape(found[1])
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert "style=" not in text.split("<script")[0], "a style attribute would be blocked"
    first = re.search(r"<(style|script|link|img)", text)
    assert first is not None
    assert text.index("Content-Security-Policy") < first.start()


def console_of(page: Path, folder: Path) -> tuple[str, str]:
    """Open a page in Chromium; its document afterwards, and what was said on the console."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    command = [
        *(program, *QUIET, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"),
        *("--virtual-time-budget=20000", "--dump-dom", page.as_uri()),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    said = [line for line in answer.stderr.splitlines() if "CONSOLE" in line]
    return answer.stdout, "\n".join(said)


@pytest.mark.parametrize("kind", ["report of a participant", "page of a cohort"])
def test_a_browser_runs_nothing_and_blocks_nothing_of_ours(tmp_path, kind, outcome):
    document, said = console_of(PAGES[kind](tmp_path, ALL), tmp_path)
    assert "<title>PWNED</title>" not in document
    assert said == ""  # a rule that is too narrow is told here, and so is an attempt that was stopped
    outcome("hostile", f"{kind} with all hostile texts, in Chromium", "nothing runs, console empty")


@pytest.mark.real
def test_the_viewer_works_under_its_policy(tmp_path, outcome):
    pytest.importorskip("nilearn", minversion="0.14")
    document, said = console_of(viewer_page(tmp_path, ALL, viewer_library()), tmp_path)
    assert 'data-ready="yes"' in document
    assert "Content Security Policy" not in said
    outcome("hostile", "viewer with all hostile texts, in Chromium", "works, nothing blocked")


@pytest.mark.parametrize(
    "path",
    ["../../secret.png", "/etc/secret.png", "sub-01/figures/../../x.png", "sub-01/figures/passwd", "x.png"],
)
def test_a_section_of_a_report_cannot_name_files_elsewhere(tmp_path, path, outcome):
    (tmp_path / "out").mkdir()
    (tmp_path.parent / "secret.png").write_bytes(b"secret")
    pair = pair_report(figures={"fixed": path})
    with pytest.raises(DataError, match="no figure of a report"):
        render_subject("sub-01", [pair], tmp_path / "out" / "x.html", version="1")
    outcome("hostile", "figure of a report's section outside of figures/", "refused")


@pytest.mark.parametrize("case", TEXTS)
def test_texts_for_people_hold_no_markup_of_a_data_set(case, outcome):
    """README.md, CITATION.md: Markdown viewers pass HTML on."""
    text = TEXTS[case]
    readme = readme_text(text)
    assert "<" not in readme.split("\n", 1)[0]
    assert readme.splitlines()[1:] == readme_text("x").splitlines()[1:]
    methods = methods_markdown([poisoned(FACTS, text, but=frozenset({"descriptor", "solver", "transform"}))])
    assert "<" not in methods
    assert citation_text(text, "1").count("\n") == citation_text("x", "1").count("\n")
    outcome("hostile", f"{case} as the name of a data set", "shown as text")
