"""What an earlier run carried along does not stay beside a new map; what others made does."""

from __future__ import annotations

from dataclasses import replace

from bids_nodereg.app.extra_files import remove_stale
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.extras import Extra
from bids_nodereg.bids.image import LabelMap
from bids_nodereg.bids.names import parse_name
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.sidecars import extra_sidecar, labels_sidecar, transform_sidecar, warped_sidecar
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
