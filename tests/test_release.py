"""What a release needs: version, changelog and citation that agree, and workflows that run what is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "release.py"
WORKFLOWS = ROOT / ".github" / "workflows"

CITATION = "cff-version: 1.2.0\nversion: 1.2.3\ndate-released: 2026-01-31\n"
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.3] - 2026-01-31

### Added

- A thing.

## [1.2.2] - 2025-12-24

- Another.
"""


@pytest.fixture
def release(monkeypatch):
    if not SCRIPT.is_file():
        pytest.skip("only in a checkout")
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclass looks there for its types
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def workflows():
    if not WORKFLOWS.is_dir():
        pytest.skip("only in a checkout")
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(WORKFLOWS.glob("*.yml"))}


def test_this_tree_could_be_released(release, capsys):
    assert release.main([]) == 0
    assert capsys.readouterr().out.strip()


def test_a_tag_that_says_another_version_is_refused(release, capsys):
    assert release.main(["v0.0.0"]) == 1
    assert "the tag is v0.0.0" in capsys.readouterr().err


def test_the_notes_are_those_of_one_release(release):
    found = {section.name: section for section in release.sections(CHANGELOG)}
    assert list(found) == ["Unreleased", "1.2.3", "1.2.2"]
    assert found["1.2.3"].text == "### Added\n\n- A thing."
    assert found["1.2.2"].date == "2025-12-24"
    assert release.disagreements("1.2.3", CHANGELOG, CITATION) == []


@pytest.mark.parametrize(
    ("version", "changelog", "citation", "words"),
    [
        ("1.2", CHANGELOG, CITATION, "is not MAJOR.MINOR.PATCH"),
        ("1.2.4", CHANGELOG, CITATION, "version is 1.2.3, version says 1.2.4"),
        ("1.2.4", CHANGELOG, CITATION.replace("1.2.3", "1.2.4"), "no section '## [1.2.4] - DATE'"),
        ("1.2.3", CHANGELOG.replace("2026-01-31", "soon"), CITATION, "has the date soon"),
        ("1.2.3", CHANGELOG.replace(" - 2026-01-31", ""), CITATION, "has the date None"),
        ("1.2.3", CHANGELOG, CITATION.replace("01-31", "02-01"), "date-released is 2026-02-01"),
        ("1.2.3", CHANGELOG.replace("### Added\n\n- A thing.", ""), CITATION, "nothing stands under 1.2.3"),
    ],
)
def test_what_does_not_agree_is_said(release, version, changelog, citation, words):
    assert any(words in line for line in release.disagreements(version, changelog, citation))


def test_every_action_is_pinned_by_a_commit_with_its_version_beside(workflows):
    used = re.findall(r"uses: (.*)", "\n".join(workflows.values()))
    assert len(used) > 5
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_a_job_has_a_limit_of_time_and_only_the_rights_that_it_names(workflows):
    for name, text in workflows.items():
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}, name
        assert "concurrency" in workflow, name
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 60, name
            assert job["permissions"], name


def test_the_pythons_that_are_tested_are_those_that_are_promised(workflows):
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = re.search(r'requires-python = ">=(3\.\d+)"', metadata)
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", metadata)
    tested = yaml.safe_load(workflows["test.yml"])["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert lowest is not None
    assert tested == promised
    assert tested[0] == lowest[1]


def test_what_the_workflows_call_is_there(workflows):
    text = "\n".join(workflows.values())
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"run: make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    scripts = set(re.findall(r"\.ci/[a-z.]+", text))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
