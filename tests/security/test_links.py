"""A symbolic link in the output folder that leads outside of it is not followed."""

from __future__ import annotations

import pytest

from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.inside import refuse_links_out
from bids_nodereg.bids.lock import locked
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.errors import OutputError
from bids_nodereg.files import write_text
from tests.app.dataset import make_study
from tests.bids.make import make_images


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("linked", ["sub-01", "sub-01/anat", "sub-01/figures"])
def test_a_pair_is_not_written_through_a_link(study, tmp_path, linked, outcome):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = out / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere, target_is_directory=True)

    code = study.run(out, "--participant-label", "01", "--transform", "rigid")

    assert code == 73
    assert list(elsewhere.iterdir()) == []
    outcome("hostile", f"{linked} of the output is a link to a folder outside", "pair refused", code)


def test_logs_are_not_written_through_a_link(study, tmp_path, outcome):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    (out / "logs").symlink_to(elsewhere, target_is_directory=True)

    code = study.run(out, "--participant-label", "01", "--transform", "rigid")

    assert code == 73
    assert list(elsewhere.iterdir()) == []
    outcome("hostile", "logs of the output is a link to a folder outside", "run refused", code)


def test_a_link_inside_and_an_output_that_is_a_link_are_followed(tmp_path):
    real = tmp_path / "real"
    (real / "store").mkdir(parents=True)
    (real / "sub-01").symlink_to(real / "store", target_is_directory=True)
    out = tmp_path / "out"
    out.symlink_to(real, target_is_directory=True)
    (outputs,) = all_outputs([Pair("test", *make_images(tmp_path, "sub-01_T1w.nii", "sub-01_T2w.nii"))], out)
    outputs.refuse_links_out()
    with pytest.raises(OutputError, match="outside of the output folder"):
        refuse_links_out(real / "store", [real / "sub-01" / ".."])


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(tmp_path, outcome):
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    final = tmp_path / "out.json"
    final.symlink_to(secret)
    write_text(final, "new")
    assert secret.read_text() == "untouched"
    assert final.read_text() == "new"
    assert not final.is_symlink()
    outcome("hostile", "output file is a link to a file outside", "link replaced, file untouched")


def test_the_lock_makes_no_file_elsewhere(tmp_path, outcome):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".nodereg.lock").symlink_to(tmp_path / "made")
    with pytest.raises(OutputError), locked(out, patience_s=0.2):
        pass
    assert not (tmp_path / "made").exists()
    outcome("hostile", "lock file is a link to a file outside", "refused", 73)
