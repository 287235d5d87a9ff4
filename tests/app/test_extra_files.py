"""What an earlier run carried along does not stay beside a new map; what others made does."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app.extra_files import remove_stale, without_unreadable
from bids_nodereg.app.jobs import Job
from bids_nodereg.app.status import input_digests
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.extras import Extra
from bids_nodereg.bids.image import LabelMap
from bids_nodereg.bids.names import parse_name
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.sidecars import extra_sidecar, labels_sidecar, transform_sidecar, warped_sidecar
from bids_nodereg.errors import NodeRegError
from bids_nodereg.files import write_json
from tests.bids.make import make_images


def carried(pair, out):
    """A file for each thing that the pair carries, as a run leaves them."""
    written = []
    for extra in pair.moving_extras:
        sidecar = extra_sidecar(pair, out, extra, skull_stripped=True, interpolation="linear")
        write_json(out.extra_json(extra), sidecar)
        written += [out.extra_json(extra), out.extra_nii(extra)]
    for labels in pair.moving_dseg:
        write_json(out.carried_json(labels.desc), labels_sidecar(pair, out, labels))
        written += [path(labels.desc) for path in (out.carried_json, out.carried_nii, out.carried_tsv)]
    for path in written:
        path.touch()
    return set(written)


def test_only_what_is_not_carried_any_more_goes(tmp_path):
    t1w, t2w, flair = make_images(tmp_path, *(f"sub-01_{c}.nii.gz" for c in ("T1w", "T2w", "FLAIR")))
    extras = []
    for text in ("sub-01_space-T2w_desc-brain_mask.nii.gz", "sub-01_space-T2w_label-GM_probseg.nii.gz"):
        name = parse_name(text)
        assert name is not None
        extras.append(Extra(tmp_path / text, f"bids:prep:{text}", name))
    labels = LabelMap(tmp_path / "a.nii.gz", "aseg", "bids:prep:a")
    before = Pair("test", t1w, t2w, moving_extras=tuple(extras), moving_dseg=(labels,))
    other = Pair("test", t1w, flair, moving_extras=(extras[0],))
    out, theirs = all_outputs([before, other], tmp_path / "out")
    carried(before, out)
    stays = carried(other, theirs)
    write_json(out.warped_json, warped_sidecar(before, out, skull_stripped=True, interpolation="linear"))
    composed = out.folder / "sub-01_from-T2w_to-MNI_mode-image_xfm.json"
    write_json(composed, {**transform_sidecar(before, out), "Sources": [out.uri(out.forward_h5)]})
    (out.folder / "sub-01_notes.json").write_text("no JSON")

    remove_stale(replace(before, moving_extras=(extras[1],), moving_dseg=()), out)

    stays |= {out.warped_json, composed, out.folder / "sub-01_notes.json"}
    stays |= {out.extra_json(extras[1]), out.extra_nii(extras[1])}
    assert set(out.folder.iterdir()) == stays


def test_what_cannot_be_read_is_left_out_unless_it_was_asked_for(tmp_path, caplog):
    """Before the map is searched, so that no time is lost."""
    t1w, t2w = make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    extras = []
    for tissue in ("GM", "WM"):
        name = parse_name(f"sub-01_space-T2w_label-{tissue}_probseg.nii.gz")
        assert name is not None
        path = tmp_path / f"{tissue}.nii.gz"
        values = np.random.default_rng(0).uniform(size=(9, 9, 9)).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
        extras.append(Extra(path, f"bids:prep:{tissue}", name))
    pair = Pair("test", t1w, t2w, moving_extras=tuple(extras))
    (out,) = all_outputs([pair], tmp_path / "out")
    job = Job(pair, out)
    assert without_unreadable(job) == (job, {})

    extras[0].path.write_bytes(extras[0].path.read_bytes()[:800])

    left, told = without_unreadable(job)
    assert left.pair.moving_extras == (extras[1],)
    assert told == {"NotCarried": ["bids:prep:GM"]}
    assert "GM.nii.gz" in caplog.text
    extras[0].path.unlink()
    extras[0].path.symlink_to("not/fetched")
    assert without_unreadable(job) == (left, told)
    for image in (t1w, t2w):
        image.path.parent.mkdir(parents=True, exist_ok=True)
        image.path.touch()
    assert input_digests(job)["bids:prep:GM"] == "not there"
    asked = replace(pair, moving_extras=(replace(extras[0], asked=True), extras[1]))
    with pytest.raises(NodeRegError, match=r"GM\.nii\.gz"):
        without_unreadable(replace(job, pair=asked))
