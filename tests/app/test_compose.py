"""A pair whose map was searched once and is composed now keeps nothing of the search."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bids_nodereg.app import compose as module
from bids_nodereg.app.jobs import Job
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.config import Settings
from tests.bids.make import make_images


def test_what_a_search_left_goes(tmp_path, monkeypatch):
    t1w, t2w = make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    pair = Pair("test", t1w, t2w)
    (out,) = all_outputs([pair], tmp_path / "out")
    stale = {*out.searched_only, out.velocity_nii(), out.velocity_json(), out.velocity_nii(2, 2)}
    out.folder.mkdir(parents=True)
    for path in stale | {out.warped_nii}:
        path.touch()
    endings = ("affine", "warp", "inversewarp", "jacobian", "logjacobian", "velocity", "velocity2of2")
    assert {f"desc-{word}" for word in endings} == {path.name.split("_")[-2] for path in stale}

    def stop(_pair):
        msg = "far enough"
        raise InterruptedError(msg)

    monkeypatch.setattr(module, "_check_parts", lambda *_rest: None)
    monkeypatch.setattr(module, "compose", lambda _job: (None, None))
    run = SimpleNamespace(
        settings=Settings(),
        images=SimpleNamespace(of=stop),
    )
    monkeypatch.setattr(module, "fingerprint", lambda *_rest: {})
    with pytest.raises(InterruptedError):
        module.compose_pair(Job(pair, out), run, SimpleNamespace(stage=lambda _text: None))
    assert set(out.folder.iterdir()) == {out.warped_nii}
