"""Files of this program that were damaged since: left out, done again or one message, never a traceback."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bids_nodereg.app.extra_files import _sources
from bids_nodereg.app.gate import kept_verdict
from bids_nodereg.app.group import read_row
from bids_nodereg.app.present import _kept_pair
from bids_nodereg.app.resample import _kept
from bids_nodereg.app.status import _sidecar
from bids_nodereg.errors import DataError

DAMAGE = {"nested": b"[" * 200_000, "a list": b"[1]", "no UTF-8": b'{"\xff": 1}', "cut short": b'{"a'}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=list(DAMAGE))
def test_no_damage_is_an_error_that_nobody_expects(tmp_path, content):
    path = tmp_path / "from-T1w_to-MNI_mode-image_qc.json"
    path.write_bytes(content)
    job = SimpleNamespace(outputs=SimpleNamespace(qc_json=path, forward_json=path))
    assert kept_verdict(job) == ""
    assert _sidecar(job) == {}
    assert _sources(path) == []
    assert _kept_pair(path) is None
    assert read_row(path) is None
    with pytest.raises(DataError, match=r"_qc\.json: cannot be read .* --force"):
        _kept(path)
