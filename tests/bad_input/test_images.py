"""Every image that is wrong: one clear message, the right code, and the other pairs are done."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest

from bids_nodereg.errors import DataError
from bids_nodereg.imaging.nifti_file import MAX_REST
from bids_nodereg.imaging.volume import read_image
from tests.bad_input.images import IMAGES, bomb
from tests.bad_input.study import make_study, told_once

NO_PAIR = ("annexlink", "loop", "folder")
"""Cases that are known by the listing of the folder already."""

SPOILED = [name for name, case in IMAGES.items() if case.code and name not in NO_PAIR]
SOUND = [name for name, case in IMAGES.items() if not case.code]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over everything that cannot be used, and two that can."""
    study = make_study(tmp_path_factory.mktemp("bad"), *SPOILED, "conflict", "zgood")
    for name in (*SPOILED, "conflict"):
        IMAGES[name].make(study.image(name))
    return study, study.run("-q"), study.statuses()


@pytest.mark.parametrize("name", SPOILED)
def test_an_image_that_cannot_be_used_is_told_and_costs_its_pair_alone(run, name, outcome):
    study, code, statuses = run
    status, case = statuses[name], IMAGES[name]
    message = str(status["error"])
    assert (status["status"], status["exit_code"], code) == ("failed", case.code, 1)
    assert told_once(message, f"BIDS_DIR/sub-{name}/anat/{study.image(name).name}", *case.words)
    assert message.count(": ") >= 1
    assert statuses["zgood"]["status"] == "done"
    outcome("bad input", case.what, "pair failed, told; others done", case.code)


def test_what_is_used_all_the_same_is_told_in_its_sidecar(run):
    study, _, statuses = run
    assert statuses["conflict"]["status"] == "done"
    folder = study.out / "sub-conflict" / "anat"
    sidecar = json.loads((folder / "sub-conflict_from-T2w_to-T1w_mode-image_xfm.json").read_text())
    assert "12.0 mm apart" in json.dumps(sidecar)


@pytest.mark.parametrize("name", SOUND)
def test_an_image_that_is_only_odd_is_read(tmp_path, name, outcome):
    study, case = make_study(tmp_path, "x"), IMAGES[name]
    case.make(study.image("x"))
    volume = read_image(study.image("x"))
    assert np.isfinite(volume.data).all()
    assert all(any(word in note for note in volume.notes) for word in case.words)
    outcome("bad input", case.what, "used; a note tells what was odd" if case.words else "used", 0)


@pytest.mark.parametrize("name", NO_PAIR)
def test_what_is_no_file_is_told_where_no_pair_is_left(tmp_path, capsys, name, outcome):
    study, case = make_study(tmp_path, "x"), IMAGES[name]
    case.make(study.image("x"))
    assert study.run() == case.code
    assert told_once(capsys.readouterr().err, "sub-x", study.image("x").name, *case.words)
    outcome("bad input", case.what, "no pair, told", case.code)


def test_a_failure_alone_gives_the_run_its_code(tmp_path, capsys):
    study = make_study(tmp_path, "x")
    IMAGES["rgb"].make(study.image("x"))
    assert study.run() == 65
    assert told_once(capsys.readouterr().err, "RGB", "Convert it")


def test_what_decompresses_without_end_takes_no_memory(tmp_path):
    """Reading goes on in pieces, and stops."""
    study = make_study(tmp_path, "x")
    bomb(study.image("x"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="follow the voxels"):
        read_image(study.image("x"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MAX_REST / 2
