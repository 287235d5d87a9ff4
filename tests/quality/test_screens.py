"""The pages as a reader sees them, wide and narrow, light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bids_nodereg.quality.figures.charts import Trace
from bids_nodereg.quality.figures.pair import FigureNames, draw_pair
from bids_nodereg.quality.group_report import render_group
from bids_nodereg.quality.report import render_subject
from bids_nodereg.quality.viewer import ViewedPair, render_viewer, viewer_library
from tests.quality.browser import look_at
from tests.quality.grids import canonical_grid
from tests.quality.pages import pair_report
from tests.quality.test_figures import ball, registered
from tests.quality.test_group_report import cohort

if TYPE_CHECKING:
    from pathlib import Path

GRID = canonical_grid()
PARTS = ".tiles, .verdict, figure img, .stack, table, pre, .references, h2"
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")

STEP_THROUGH = """
const seen = (viewer) => [...viewer.querySelectorAll(".stack img")]
  .filter((image) => getComputedStyle(image).visibility === "visible")
  .map((image) => image.className).join("+");
const steps = [];
for (const viewer of page.querySelectorAll("[data-viewer]"))
  for (const label of viewer.querySelectorAll("label")) {
    if (label.querySelector("[data-show^=flicker]")) continue;
    label.click();
    steps.push(seen(viewer));
  }
return steps.join(" ");
"""
SORT = """
const first = () => page.querySelector("#body th").textContent.split("_")[0];
const told = [first()];
for (let step = 0; step < 2; step++) {
  page.querySelector('[data-column="7"] button').click();
  told.push(first());
}
page.querySelector("#verdict").value = "fail";
page.querySelector("#verdict").dispatchEvent(new Event("input"));
told.push(page.querySelector("#where").textContent.replace("1 to ", "").replaceAll(" ", "-"));
return told.join(" ");
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    wave = np.zeros((*GRID.shape, 3), np.float32)
    wave[..., 0] = 2.0 * np.sin(np.arange(GRID.shape[1]) / 5)[:, None]
    trace = Trace([1.0, 0.5, 0.3], {"similarity": [0.9, 0.4, 0.2]}, [(0, "level 1 of 1")])
    pair = registered(forward_mm=wave, inverse_mm=-wave, truth_mm=1.1 * wave, after_mask=ball(radius=15))
    drawn = draw_pair(pair, FigureNames(folder / "figures", "sub-01", "T2w"), trace)
    figures = {name: path.relative_to(folder).as_posix() for name, path in drawn.items()}
    long = pair_report(figures=figures, title="T2w (ses-averylongsessionlabelwithoutabreak) onto T1w")
    return render_subject("sub-01", [long], folder / "sub-01.html", version="0.1.0", run="run 1")


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (390, True)])
def test_every_part_of_a_report_is_seen_and_nothing_is_wider_than_the_window(
    page: Path, width: int, dark: bool
) -> None:
    look = look_at(page, width, selector=PARTS, dark=dark, act=STEP_THROUGH)

    # what is seen of the stacked pictures as each choice is made; the lowest one is covered by the others
    first, second = ["after+fixed", "after+before", "after"], ["after", "after+before", "after+checkerboard"]
    assert look.said.split() == [*first, *second, "fixedmask", "fixedmask+movingmask"]
    assert look.width == look.scroll == width
    assert len(look.boxes) >= 20
    for box in look.boxes:
        part = look.part(box)
        if box.bottom > box.top + 1 and part.size:  # what is folded away has no size
            assert part.std() > 5, box.name
    paper = np.median(look.pixels[:, 3].reshape(-1, 3), axis=0)  # the margin beside the text
    assert (paper.max() < 60) if dark else (paper.min() > 230)


@pytest.mark.parametrize(("width", "dark"), [(1300, True), (390, False)])
def test_the_page_of_a_cohort_is_seen_with_all_its_plots(tmp_path: Path, width: int, dark: bool) -> None:
    path = render_group(cohort(60), tmp_path / "group.html", version="0.1.0")
    parts = ".strips svg, #table, .tiles"
    look = look_at(path, width, selector=parts, dark=dark, height=4000, act=SORT)

    assert look.width == look.scroll == width
    # the failed pair first; by rising NMI it is first too; by falling NMI the last comes first
    assert look.said.split() == ["sub-00000", "sub-00000", "sub-00059", "1-of-1"]
    assert len(look.boxes) == 4
    for box in look.boxes:
        assert look.part(box).std() > 5, box.name


def test_the_viewer_shows_the_left_of_the_head_on_the_left(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", minversion="0.14")
    head = 100.0 * ball(radius=26)
    marked = head + 150.0 * ball((9, 20, 12), 7)  # low i is the left of the head
    pair = ViewedPair("sub-01", GRID.affine, head, marked, None, "T1w", "T2w", "sub-01.html")
    path = render_viewer(pair, tmp_path / "v.html", library=viewer_library(), version="0.1.0")

    ready = "body[data-ready], #trouble:not(:empty)"
    look = look_at(path, 1200, selector="canvas", said="#trouble", wait=ready, height=700, more=SOFTWARE_GL)

    assert look.said == ""
    (box,) = look.boxes
    axial = look.part(box)[:, : round((box.right - box.left) / 3)].astype(float)
    grey = np.ptp(axial, axis=-1) < 12  # not the crosshair
    light = np.where(grey, axial.mean(-1), 0)
    tissue = light > 30
    assert tissue.mean() > 0.1
    bright = light > 0.5 * (light[tissue].max() + np.median(light[tissue]))
    assert np.nonzero(bright)[1].mean() < np.nonzero(tissue)[1].mean() - 20


def test_without_webgl_the_viewer_says_so(tmp_path: Path) -> None:
    flat = np.zeros(GRID.shape)
    pair = ViewedPair("sub-01", GRID.affine, flat, flat, None, "T1w", "T2w", "sub-01.html")
    library = "var niivue = { SHOW_RENDER: {}, Niivue: class { async attachTo() { this.gl = null; } } };"
    path = render_viewer(pair, tmp_path / "v.html", library=library, version="0.1.0")

    look = look_at(path, 390, said="#trouble", wait="#trouble:not(:empty)", height=700)

    assert "needs a browser with WebGL2" in look.said
    assert look.width == look.scroll
