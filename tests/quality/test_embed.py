"""Pages with many figures stay small, and their pictures whole."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bids_nodereg.quality import embed
from bids_nodereg.quality.embed import LEAST_SCALE, data_uri, fitting_scale
from bids_nodereg.quality.report import render_subject
from tests.quality.pages import pair_report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def noise(path: Path, seed: int, size: tuple[int, int] = (300, 420)) -> Path:
    """A picture that WebP cannot make small: bright above, dark below, noise everywhere."""
    values = np.random.default_rng(seed).integers(0, 120, (*size, 3))
    values[: size[0] // 2] += 120
    Image.fromarray(values.astype(np.uint8)).save(path, quality=90)
    return path


def picture(uri: str) -> np.ndarray:
    head, content = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content))), float)


def test_few_figures_stay_as_they_are(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.webp", 0)

    assert fitting_scale([path]) == 1
    assert base64.b64decode(data_uri(path).split(",")[1]) == path.read_bytes()


def test_many_figures_become_smaller_and_the_page_keeps_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "MOST_BYTES", 300_000)
    (tmp_path / "figures").mkdir()
    pairs = []
    for number in range(8):
        name = f"figures/{noise(tmp_path / 'figures' / f'{number}.webp', number).name}"
        pairs.append(pair_report(key=f"pair-{number}", figures={"fixed": name, "after": name}))
    whole = 2 * sum(path.stat().st_size for path in (tmp_path / "figures").iterdir())
    assert whole > 2 * 300_000

    page = render_subject("sub-01", pairs, tmp_path / "sub-01.html", version="0.1.0")

    without = render_subject(
        "sub-01",
        [pair_report(key=f"pair-{number}") for number in range(8)],
        tmp_path / "sub-02.html",
        version="0.1.0",
    )
    assert page.stat().st_size - without.stat().st_size < 1.5 * 300_000


def test_a_smaller_picture_shows_the_same(tmp_path: Path) -> None:
    small = picture(data_uri(noise(tmp_path / "a.webp", 0), 0.5))

    assert small.shape == (150, 210, 3)
    assert small[:70].mean() > small[80:].mean() + 100


def test_no_picture_becomes_too_small_to_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "MOST_BYTES", 10)

    assert fitting_scale([noise(tmp_path / "a.webp", 0)]) == LEAST_SCALE


def test_a_drawing_of_lines_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text("<svg/>")

    assert base64.b64decode(data_uri(path, 0.5).split(",")[1]) == b"<svg/>"
