"""Look at a page in a real browser: what it measures of the page, and what the page looks like."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--hide-scrollbars", "--allow-file-access-from-files"),
)
# A headless window is never as narrow as a phone, so the page stands in a frame of the wanted width.
WRAPPER = """<!DOCTYPE html><meta charset="utf-8">
<style>
body {{ margin: 0 }}
iframe {{ border: 0; display: block; width: {width}px; height: {height}px }}
</style>
<iframe id="frame" src="{page}"></iframe><pre id="told"></pre>
<script>
const frame = document.getElementById("frame");
const tell = () => {{
  const page = frame.contentDocument, root = page.documentElement;
  const done = ((page) => {{ {act} }})(page);
  const boxes = [...page.querySelectorAll({selector})].map((element) => {{
    const box = element.getBoundingClientRect();
    return {{ name: element.alt || element.id || element.className || element.tagName,
      left: box.left, top: box.top, right: box.right, bottom: box.bottom }};
  }});
  const said = page.querySelector({said});
  const text = done ?? (said ? said.textContent : "");
  document.getElementById("told").textContent = JSON.stringify({{ width: root.clientWidth,
    scroll: root.scrollWidth, height: root.scrollHeight, boxes, said: text }});
}};
const ready = () => frame.contentDocument.querySelector({wait}) ? tell() : setTimeout(ready, 100);
frame.onload = ready;
</script>
"""


@dataclass(frozen=True)
class Box:
    """Where an element is on the page, in pixels."""

    name: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, eq=False)
class Look:
    """What a browser makes of a page.

    ``scroll`` is the width that the page would need, ``said`` the text of one element, and ``pixels``
    ``(row, column, 3)``.
    """

    width: int
    scroll: int
    height: int
    said: str
    boxes: tuple[Box, ...]
    pixels: np.ndarray

    def part(self, box: Box) -> np.ndarray:
        """Pixels of an element, as far as they are in the picture."""
        rows = slice(max(0, round(box.top)), max(0, round(box.bottom)))
        columns = slice(max(0, round(box.left)), min(self.width, round(box.right)))
        return self.pixels[rows, columns]


def look_at(
    page: Path,
    width: int,
    *,
    selector: str = "body",
    said: str = "h1",
    wait: str = "body",
    height: int = 9000,
    more: tuple[str, ...] = ("--disable-gpu",),
    dark: bool = False,
    act: str = "",
) -> Look:
    """Open a page from its file; skips the test where there is no browser.

    Parameters
    ----------
    page
        The file.
    width, height
        Of the window that the page sees.
    selector
        Which elements to measure.
    said
        Element whose text to give back.
    act
        What to do on the ``page`` before that, as JavaScript; what it returns takes the place of the text.
    wait
        What must be on the page before it is looked at.
    more
        Further arguments of the browser.
    dark
        Whether the reader prefers dark colours.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = {"selector": selector, "said": said, "wait": wait}
        quoted = {name: json.dumps(value) for name, value in words.items()}
        wrapper = folder / "wrapper.html"
        address = page.absolute().as_uri()
        wrapper.write_text(WRAPPER.format(width=width, height=height, page=address, act=act, **quoted))
        command = [
            *(program, *QUIET, *more, f"--user-data-dir={folder / 'profile'}"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *(f"--window-size={max(width, 500)},{height}", f"--screenshot={folder / 'page.png'}"),
            *("--virtual-time-budget=30000", "--dump-dom", wrapper.as_uri()),
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        found = re.search(r'<pre id="told">(.+?)</pre>', answer.stdout, re.DOTALL)
        assert found, "the page did not get ready"
        told = json.loads(unescape(found.group(1)))
        with Image.open(folder / "page.png") as image:
            pixels = np.asarray(image.convert("RGB"), int)[:, :width]
    boxes = tuple(Box(**box) for box in told["boxes"])
    return Look(told["width"], told["scroll"], told["height"], told["said"], boxes, pixels)
