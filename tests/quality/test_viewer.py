"""The interactive page without a browser: what is in it, and that nothing else can get in."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.errors import MissingInputError
from bids_nodereg.quality import viewer
from bids_nodereg.quality.viewer import ViewedPair, render_viewer, viewer_library
from tests.quality.grids import canonical_grid
from tests.quality.pages import EVIL, Page

if TYPE_CHECKING:
    from pathlib import Path

GRID = canonical_grid()
LIBRARY = "var niivue = {};"


def viewed() -> ViewedPair:
    """A head with a bright mark on its left, and a Jacobian that rises from left to right."""
    offset = (np.stack(np.indices(GRID.shape), -1) - [16, 20, 12]) * GRID.spacing
    volume = 100.0 * (np.linalg.norm(offset, axis=-1) < 22)
    volume[10:13, 18:22, 11:13] = 180.0
    determinant = np.exp(np.linspace(-0.2, 0.2, GRID.shape[0]))[:, None, None] * np.ones(GRID.shape)
    return ViewedPair(
        "sub-01: T2w onto T1w", GRID.affine, volume, volume, determinant, "T1w", "T2w", "a.html#b"
    )


def volumes(text: str) -> dict[str, tuple[dict[str, float], nib.Nifti1Image]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return {
        each["role"]: (each, nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(each["content"]))))
        for each in json.loads(found.group(1))
    }


def render(folder: Path, pair: ViewedPair) -> str:
    return render_viewer(pair, folder / "v.html", library=LIBRARY, version="0.1.0").read_text(
        encoding="utf-8"
    )


def test_the_volumes_lie_where_they_did_and_keep_their_values(tmp_path: Path) -> None:
    pair = viewed()
    found = volumes(render(tmp_path, pair))

    assert set(found) == {"fixed", "registered", "jacobian"}
    told, image = found["fixed"]
    data = image.get_fdata()
    assert image.get_data_dtype() == np.uint8
    assert np.prod(image.shape) < 0.9 * np.prod(GRID.shape)  # cut to the head
    # the mark, in the world
    mark = nib.affines.apply_affine(image.affine, np.argwhere(data > 150)).mean(0)
    expected = GRID.to_world(np.argwhere(pair.fixed > 150)).mean(0)
    np.testing.assert_allclose(mark, expected, atol=1e-3)
    values = np.array([[told["low"]], [100.0], [min(180.0, told["high"])]])  # cut at the window
    assert np.abs(np.unique(data) - values).min(0).max() < 1
    assert told["low"] < 100 < told["high"]


def test_the_jacobian_keeps_its_sign_and_its_zero(tmp_path: Path) -> None:
    told, image = volumes(render(tmp_path, viewed()))["jacobian"]
    data = image.get_fdata()

    assert told["low"] == -told["high"]
    across = np.array(
        [np.median(plane[np.abs(plane) > 1e-6]) for plane in data if (np.abs(plane) > 1e-6).any()]
    )
    assert across[0] < -0.05
    assert across[-1] > 0.05
    assert (np.diff(across) >= 0).all()
    assert abs(data[0, 0, 0]) < 1e-6


def test_an_affine_has_no_jacobian_to_show(tmp_path: Path) -> None:
    text = render(tmp_path, replace(viewed(), determinant=None))

    assert set(volumes(text)) == {"fixed", "registered"}
    assert 'id="jacobian"' not in text


def test_the_page_loads_nothing_and_shows_markup_as_text(tmp_path: Path) -> None:
    pair = replace(viewed(), title=EVIL, fixed_name=EVIL, moving_name=EVIL, report="javascript" + EVIL)
    text = render(tmp_path, pair)
    page = Page(text)

    assert page.loads == []
    assert len(re.findall(r"<script", text)) == 3
    assert "<img" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1).replace("&#39;", "'")
    assert policy.group(1).count("sha256-") == 3
    assert "http" not in policy.group(1)


def test_an_image_of_one_value_still_gives_a_page(tmp_path: Path) -> None:
    flat = np.zeros(GRID.shape)
    found = volumes(render(tmp_path, replace(viewed(), fixed=flat, registered=flat)))

    assert found["fixed"][1].shape == GRID.shape


def test_the_library_is_found_where_it_is_installed_and_can_stand_in_a_page() -> None:
    pytest.importorskip("nilearn", minversion="0.14")
    text = viewer_library()

    assert "loadFromBase64" in text
    # Either would end the script element or change its digest.
    assert "</script" not in text
    assert "\r" not in text


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "find_spec", lambda _name: None)

    with pytest.raises(MissingInputError, match=r"nilearn is not installed.*bids-nodereg\[viewer\]"):
        viewer_library()
