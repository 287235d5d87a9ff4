"""What runs while the image is built: its requirements, templates, list of parts."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "container"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in a checkout")


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"container_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the image's Python is 3.11 or newer")
def test_requirements_are_the_project_s():
    requirements = load("requirements").requirements
    project = {"dependencies": ["a>=1"], "optional-dependencies": {"x": ["b"], "y": ["c"]}}

    assert requirements(project, []) == ["a>=1"]
    assert requirements(project, ["y"]) == ["a>=1", "c"]
    with pytest.raises(SystemExit, match="z"):
        requirements(project, ["z"])


@pytest.mark.skipif(shutil.which("sed") is None, reason="needs sed")
@pytest.mark.parametrize(
    ("version", "kept"), [("", ["sympy==1.14.0", "torch==2.13.0"]), ("2.6.0", ["torch==2.6.0"])]
)
def test_another_torch_comes_with_its_own_sympy(tmp_path, version, kept):
    (edit,) = re.findall(r"sed -i .* constraints\.txt", (FOLDER.parent / "Dockerfile").read_text())
    (tmp_path / "constraints.txt").write_text("sympy==1.14.0\ntorch==2.13.0\ntorchvision==1\n")

    subprocess.run(["sh", "-c", edit], cwd=tmp_path, env={**os.environ, "TORCH_VERSION": version}, check=True)

    assert (tmp_path / "constraints.txt").read_text().split() == [*kept, "torchvision==1"]


class Client:
    """Answers like TemplateFlow's, from a folder."""

    def __init__(self, folder: Path, *, breaks: str = "", cut: str = ""):
        self.folder, self.breaks, self.cut = folder, breaks, cut

    def get(self, name, *, suffix, desc, resolution, extension, atlas):
        assert atlas is None
        middle = "" if desc is None else f"_desc-{desc}"
        path = self.folder / f"tpl-{name}" / f"tpl-{name}_res-{resolution:02d}{middle}_{suffix}{extension}"
        if suffix == self.breaks:
            raise ConnectionError(suffix)
        data = gzip.compress(suffix.encode() * 1000)
        path.write_bytes(data[:20] if suffix == self.cut else data)
        return path if suffix != "T2w" or resolution == 1 else []


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "tpl-X"
    folder.mkdir()
    words = load("templates").PERMISSION.replace(" ", "\n").capitalize()
    (folder / "LICENSE").write_text(f"Copyright (C) somebody.\n{words}, provided that this notice appears.\n")
    return tmp_path


def test_templates_are_fetched_with_their_licence(home):
    lines = load("templates").fetch(Client(home), home, "X")

    assert len(lines) == 5
    assert all(len(line.split()[0]) == 64 for line in lines)
    assert (home / "tpl-X" / "LICENSE").is_file()


@pytest.mark.parametrize("trouble", [{"breaks": "mask"}, {"cut": "mask"}])
def test_without_a_network_there_is_none_and_a_line_says_so(home, trouble, capsys):
    assert load("templates").fetch(Client(home, **trouble), home, "X") == []

    told = capsys.readouterr().out
    assert told.startswith("templates: SKIPPED X")
    assert told.count("\n") == 1
    images = list((home / "tpl-X").glob("*.nii.gz"))
    assert images
    assert all(path.stat().st_size == 0 for path in images)


@pytest.mark.parametrize("text", ["All rights reserved", None])
def test_a_template_that_may_not_be_shipped_ends_the_build(home, text):
    licence = home / "tpl-X" / "LICENSE"
    licence.unlink() if text is None else licence.write_text(text)

    with pytest.raises(SystemExit, match="licence"):
        load("templates").fetch(Client(home), home, "X")


STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u13
Description: of
 two lines

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def test_the_list_of_parts_has_what_is_installed():
    sbom = load("sbom")
    found = list(sbom.debian_packages(STATUS))

    assert [entry["purl"] for entry in found] == ["pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64"]


def test_the_list_of_parts_of_this_environment_is_whole_and_always_the_same():
    texts = [
        subprocess.run(
            [sys.executable, str(FOLDER / "sbom.py")], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    listed = json.loads(texts[0])
    purls = [entry["purl"] for entry in listed["components"]]

    assert texts[0] == texts[1]
    assert len(set(purls)) == len(purls)
    assert any(purl.startswith("pkg:pypi/torch@") for purl in purls)
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert listed["metadata"]["component"]["name"] == "bids-nodereg"
