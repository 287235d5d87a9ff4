"""Templates are found by path, empty placeholders do not count, and no server is asked unasked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import pytest

from bids_nodereg.bids.spaces import output_spaces
from bids_nodereg.bids.templateflow import find_templates, template_homes
from bids_nodereg.errors import MissingInputError, UsageError
from tests.shared_data import shared_data


def fill(home, *names, cohort=None):
    """Files with one byte of contents; those whose name starts with ``empty:`` have none."""
    for name in names:
        text = name.removeprefix("empty:")
        folder = home / text.split("_")[0]
        folder = folder if cohort is None else folder / f"cohort-{cohort}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / text).write_bytes(b"" if name != text else b"x")
    return home


def find(home, *words, **options):
    homes = home if isinstance(home, list) else [home]
    [template] = find_templates(output_spaces(words), homes=homes, **options)
    return template


@pytest.mark.parametrize(
    ("there", "word", "image", "mask"),
    [
        # the first resolution, the head, with the brain mask of the same resolution
        (
            [
                "res-02_T1w",
                "res-01_T1w",
                "res-01_desc-brain_T1w",
                "res-02_desc-brain_mask",
                "res-01_desc-brain_mask",
            ],
            "X",
            "res-01_T1w",
            "res-01_desc-brain_mask",
        ),
        # the usual resolution is the first, even where only its brain is there
        (["res-02_T1w", "res-01_desc-brain_T1w"], "X", "res-01_desc-brain_T1w", None),
        # a mask of another resolution lies in the same world
        (["res-02_T1w", "res-01_desc-brain_mask"], "X", "res-02_T1w", "res-01_desc-brain_mask"),
        # an empty file is a placeholder of TemplateFlow's client
        (["empty:res-01_T1w", "res-02_T1w", "empty:res-01_desc-brain_mask"], "X", "res-02_T1w", None),
        # no resolution in the names
        (["T1w", "desc-brain_mask"], "X", "T1w", "desc-brain_mask"),
        # other things with the same suffix
        (
            ["hemi-L_T1w", "res-01_label-GM_T1w", "res-01_desc-head_mask", "res-03_T1w"],
            "X",
            "res-03_T1w",
            None,
        ),
        # what was asked for is written; what is registered onto is the usual one
        (["res-01_T1w", "res-02_T1w"], "X:res-2", "res-01_T1w", None),
    ],
)
def test_the_image_and_the_mask_of_a_template(tmp_path, there, word, image, mask):
    names = [
        f"empty:tpl-X_{name[6:]}.nii.gz" if name[:6] == "empty:" else f"tpl-X_{name}.nii.gz" for name in there
    ]
    template = find(fill(tmp_path, *names), word)
    assert template.images[0].path == tmp_path / "tpl-X" / f"tpl-X_{image}.nii.gz"
    assert template.mask == (None if mask is None else tmp_path / "tpl-X" / f"tpl-X_{mask}.nii.gz")


def test_resolutions_are_grids_with_uris(tmp_path):
    fill(tmp_path, "tpl-X_res-01_T1w.nii.gz", "tpl-X_res-02_T1w.nii.gz")
    template = find(tmp_path, "X:res-2:res-1", "X")
    assert [(grid.res, grid.uri) for grid in template.grids] == [
        ("2", "bids:templateflow:tpl-X/tpl-X_res-02_T1w.nii.gz"),
        ("1", "bids:templateflow:tpl-X/tpl-X_res-01_T1w.nii.gz"),
        ("", ""),
    ]
    assert template.images[0].uri == "bids:templateflow:tpl-X/tpl-X_res-01_T1w.nii.gz"


def test_a_contrast_of_its_own_where_there_is_one(tmp_path):
    fill(tmp_path, "tpl-X_res-01_T1w.nii.gz", "tpl-X_res-01_T2w.nii.gz")
    template = find(tmp_path, "X")
    assert [template.image_for(suffix).suffix for suffix in ("T1w", "T2w", "FLAIR", "UNIT1")] == [
        "T1w",
        "T2w",
        "T1w",
        "T1w",
    ]


def test_a_cohort_has_a_folder_of_its_own(tmp_path):
    fill(tmp_path, "tpl-Kid_cohort-2_res-1_T1w.nii.gz", cohort="2")
    (tmp_path / "tpl-Kid" / "template_description.json").write_text(
        json.dumps({"Name": "Kids", "License": "CC0"})
    )
    template = find(tmp_path, "Kid:cohort-2:res-1")
    assert template.space == "Kid+2"
    assert template.images[0].relative == "tpl-Kid/cohort-2/tpl-Kid_cohort-2_res-1_T1w.nii.gz"
    assert (template.title, template.licence) == ("Kids", "CC0")
    with pytest.raises(MissingInputError, match="cohort-1"):
        find(tmp_path, "Kid:cohort-1")


def test_the_first_folder_that_has_all_is_taken(tmp_path):
    near, far = tmp_path / "near", tmp_path / "far"
    fill(near, "tpl-X_res-01_T1w.nii.gz")
    fill(far, "tpl-X_res-01_T1w.nii.gz", "tpl-X_res-02_T1w.nii.gz")
    assert find([near, far], "X").images[0].path.is_relative_to(near)
    assert find([near, far], "X:res-2").images[0].path.is_relative_to(far)


@pytest.mark.parametrize(
    ("there", "word", "missing"),
    [
        ([], "X", "tpl-X_res-01_T1w.nii.gz"),
        ([], "X:cohort-3", "cohort-3/tpl-X_cohort-3_res-01_T1w.nii.gz"),
        (["tpl-X_res-01_T1w.nii.gz"], "X:res-2", "tpl-X_res-02_T1w.nii.gz"),
        (["tpl-X_res-01_T1w.nii.gz", "empty:tpl-X_res-2_T1w.nii.gz"], "X:res-2", "tpl-X_res-2_T1w.nii.gz"),
        (["empty:tpl-X_T1w.nii.gz"], "X", "tpl-X_T1w.nii.gz"),
    ],
)
def test_what_is_not_there_is_named_with_the_way_to_get_it(tmp_path, there, word, missing):
    fill(tmp_path, *there)
    with pytest.raises(MissingInputError) as error:
        find([tmp_path, tmp_path / "other"], word)
    told = str(error.value)
    assert str(tmp_path / "tpl-X" / missing) in told
    assert "from templateflow import api; api.get('X'" in told
    assert ("resolution=2" in told) == ("2_T1w" in missing)
    assert "resolution=1" not in told  # nobody asked for it, and the template may have none
    assert ("cohort='3'" in told) == ("cohort" in word)
    assert "templateflow" not in sys.modules


class FakeClient(types.ModuleType):
    """TemplateFlow's client: makes empty files when it is imported, fills one, or has no network."""

    def __init__(self, home, *names, online=True):
        super().__init__("templateflow")
        self.home, self.names, self.online, self.asked = home, names, online, []

    def get(self, name, **query):
        self.asked.append((name, query))
        if not self.online:
            msg = "no network here"
            raise ConnectionError(msg)
        desc = f"_desc-{query['desc']}" if query["desc"] else ""
        cohort = f"_cohort-{query['cohort']}" if "cohort" in query else ""
        res = f"_res-{query['resolution']:02d}" if "resolution" in query else ""
        text = f"tpl-{name}{cohort}{res}{desc}_{query['suffix']}.nii.gz"
        if text in self.names:  # the real one has no answer, and no error, where there is no such file
            fill(self.home, text, cohort=query.get("cohort"))

    @property
    def api(self):
        """What ``from templateflow import api`` gives."""
        for text in self.names:
            cohort = text.partition("_cohort-")[2].partition("_")[0] or None
            folder = self.home / text.split("_")[0] / (f"cohort-{cohort}" if cohort else "")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / text).touch()
        return self


def test_the_client_is_asked_only_when_the_user_says_so(tmp_path, monkeypatch):
    client = FakeClient(tmp_path, "tpl-X_res-01_T1w.nii.gz", "tpl-X_res-01_desc-brain_mask.nii.gz")
    monkeypatch.setitem(sys.modules, "templateflow", client)
    with pytest.raises(MissingInputError, match="No server is asked"):
        find(tmp_path, "X")
    assert client.asked == []
    template = find(tmp_path, "X", fetch=True)
    assert template.images[0].path.name == "tpl-X_res-01_T1w.nii.gz"
    assert template.mask.name == "tpl-X_res-01_desc-brain_mask.nii.gz"
    find(tmp_path, "X", fetch=True)
    assert [query["suffix"] for _, query in client.asked] == ["T1w", "mask"]  # what is there is not asked for


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("X", ["tpl-X_T1w.nii.gz", "tpl-X_desc-brain_mask.nii.gz"]),
        ("X:cohort-1", ["tpl-X_cohort-1_T1w.nii.gz", "tpl-X_cohort-1_label-brain_mask.nii.gz"]),
        ("X:res-3", ["tpl-X_res-03_T1w.nii.gz", "tpl-X_res-03_desc-brain_mask.nii.gz"]),
    ],
)
def test_names_without_a_resolution_are_fetched_too(tmp_path, monkeypatch, word, names):
    """As those of MNI305, MNIColin27 and UNCInfant: only the client's empty files tell it."""
    monkeypatch.setitem(sys.modules, "templateflow", FakeClient(tmp_path, *names))
    template = find(tmp_path, word, fetch=True)
    assert template.images[0].path.name == names[0]
    assert (template.mask is None) == ("desc-brain_mask" not in names[1])
    assert template.notes == ()


def test_the_real_clients_names_of_a_template_without_resolution(tmp_path):
    """In a process of its own and with no way out: what it would fetch is named as it is."""
    code = (
        "import socket\n"
        "def closed(*_args, **_more): raise OSError('no way out')\n"
        "socket.socket.connect = socket.getaddrinfo = closed\n"
        "from bids_nodereg.bids.spaces import output_spaces\n"
        "from bids_nodereg.bids.templateflow import find_templates\n"
        "for word in ('MNI305', 'UNCInfant:cohort-1'):\n"
        "    try: find_templates(output_spaces([word]), fetch=True)\n"
        "    except Exception as error: print(error)\n"
    )
    environment = {"TEMPLATEFLOW_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-W", "ignore", "-c", code]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "could not fetch tpl-MNI305/tpl-MNI305_T1w.nii.gz (" in told
    assert "could not fetch tpl-UNCInfant/cohort-1/tpl-UNCInfant_cohort-1_T1w.nii.gz (" in told


def test_a_mask_that_is_only_a_placeholder_is_told_and_fetched(tmp_path, monkeypatch):
    mask = "tpl-X_res-01_desc-brain_mask.nii.gz"
    fill(tmp_path, "tpl-X_res-01_T1w.nii.gz", f"empty:{mask}")
    [note] = find(tmp_path, "X").notes
    assert f"{mask} is an empty placeholder" in note
    assert "api.get('X', suffix='mask', desc='brain', resolution=1)" in note
    monkeypatch.setitem(sys.modules, "templateflow", FakeClient(tmp_path, mask))
    template = find(tmp_path, "X", fetch=True)
    assert (template.mask.name, template.notes) == (mask, ())


def test_one_file_under_two_names(tmp_path):
    path = fill(tmp_path, "tpl-X_res-01_T1w.nii.gz") / "tpl-X" / "tpl-X_res-01_T1w.nii.gz"
    with pytest.raises(UsageError, match="X and study are the same file"):
        find(tmp_path, "X", f"study={path}")


def test_a_client_without_network_is_one_clear_error(tmp_path, monkeypatch):
    client = FakeClient(tmp_path, "tpl-X_res-01_T1w.nii.gz", online=False)
    monkeypatch.setitem(sys.modules, "templateflow", client)
    with pytest.raises(MissingInputError, match=r"could not fetch tpl-X/tpl-X_res-01_T1w.*no network here"):
        find(tmp_path, "X", fetch=True)


def test_where_templates_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    assert template_homes()[0] == tmp_path
    monkeypatch.delenv("TEMPLATEFLOW_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert template_homes()[0] == tmp_path / "cache" / "templateflow"
    assert str(template_homes()[1]) == "/opt/templateflow"


def test_our_default_folder_is_that_of_the_client(tmp_path, monkeypatch):
    """In a process of its own, because importing the client fills its folder."""
    code = "from templateflow.conf.env import get_templateflow_home as home; print(home())"
    environment = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.delenv("TEMPLATEFLOW_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert done.stdout.splitlines()[-1] == str(template_homes()[0])


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("study_T1w.nii.gz", "study_desc-brain_mask.nii.gz"),
        ("tpl-A_desc-brain_T2w.nii", "tpl-A_desc-brain_mask.nii"),
        ("average.nii.gz", "average_desc-brain_mask.nii.gz"),
    ],
)
def test_a_local_file_finds_the_mask_beside_it(tmp_path, image, mask):
    for name in (image, mask, "other.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    template = find(tmp_path, f"mine={tmp_path / image}")
    assert (template.space, template.mask) == ("mine", tmp_path / mask)
    assert template.images[0].suffix == ("T2w" if "T2w" in image else "T1w")
    assert template.images[0].uri == f"bids:mine:{image}"
    given = find(tmp_path, f"mine={tmp_path / image},mask={tmp_path / 'other.nii.gz'}")
    assert given.mask == tmp_path / "other.nii.gz"


def test_a_local_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingInputError, match=r"nowhere_T1w.nii.gz is not there"):
        find(tmp_path, f"mine={tmp_path / 'nowhere_T1w.nii.gz'}")


@pytest.mark.real
def test_the_shared_templates_are_laid_out_as_templateflow():
    home = shared_data("templates")
    template = find(home, "MNI152NLin6Asym:res-1:res-2")
    assert [image.path.name for image in template.images] == [
        "tpl-MNI152NLin6Asym_res-01_desc-brain_T1w.nii.gz",
        "tpl-MNI152NLin6Asym_res-01_desc-brain_T2w.nii.gz",
    ]
    assert template.mask is not None
    assert [grid.path.name[:30] for grid in template.grids] == [
        "tpl-MNI152NLin6Asym_res-01_des",
        "tpl-MNI152NLin6Asym_res-02_T1w",
    ]
    assert "MNI152" in template.licence
