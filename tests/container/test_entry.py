"""The entry of the container, run outside one: where caches go, and what it does where none can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ENTRY = Path(__file__).parents[2] / "container" / "entry"
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME", "TRITON_CACHE_DIR")

pytestmark = pytest.mark.skipif(
    shutil.which("sh") is None or not ENTRY.is_file() or os.name != "posix", reason="needs a checkout and sh"
)


@pytest.fixture
def entry(tmp_path):
    """The entry with the image's places moved into a folder: the program prints words and environment."""
    image = tmp_path / "image"
    (image / "caches" / "numba").mkdir(parents=True)
    (image / "caches" / "numba" / "loop.nbc").write_text("compiled")
    (image / "caches" / "id").write_text("abc\n")
    places = {
        "/opt/caches": f"{image}/caches",
        "exec /opt/venv/bin/python /app/run.py": "exec printenv -0; :",
        " /tmp /work": f" {tmp_path}/tmp {tmp_path}/work",  # noqa: S108 # the entry's own
    }
    text = ENTRY.read_text()
    for there, here in places.items():
        assert there in text
        text = text.replace(there, here)
    path = tmp_path / "entry"
    path.write_text(text)
    return path


@pytest.fixture
def processor(entry, tmp_path):
    """Let the entry meet another processor, by its /proc/cpuinfo: None where there is no such file."""

    def meet(cpuinfo: str | None, machine: str = "x86_64") -> None:
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo)
        text = entry.read_text()
        assert "/proc/cpuinfo" in text
        assert "$(uname -m)" in text
        entry.write_text(text.replace("/proc/cpuinfo", str(path)).replace("$(uname -m)", machine))
        (tmp_path / "tmp").mkdir()

    return meet


FLAGS = re.findall(r"for flag in (.*);", ENTRY.read_text())[0].split() if ENTRY.is_file() else []


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "name"),
    [
        (f"processor : 0\nflags\t\t: fpu {' '.join(FLAGS)} aes\n", "x86_64", "x86-64-v3"),
        (f"flags : {' '.join(FLAGS[1:])}\n", "x86_64", None),
        ("processor : 0\nmodel name : hidden\n", "x86_64", None),
        ("Features : fp asimd\n", "aarch64", None),
        (None, "x86_64", None),
    ],
    ids=["new", "old", "without flags", "arm", "no file"],
)
def test_loops_are_compiled_for_what_the_processor_has(entry, processor, tmp_path, cpuinfo, machine, name):
    processor(cpuinfo, machine)

    told, said = run(entry, TMPDIR=str(tmp_path / "tmp"))

    assert told.get("NUMBA_CPU_NAME") == name
    assert said == ""


def run(entry: Path, **environment: str) -> tuple[dict[str, str], str]:
    """Environment of the program, and what the entry said."""
    words = {"PATH": os.environ["PATH"], **environment}
    told = subprocess.run(["sh", str(entry)], env=words, capture_output=True, text=True, check=True)
    return dict(pair.split("=", 1) for pair in told.stdout.split("\0") if pair), told.stderr


def test_caches_go_to_a_private_folder_and_begin_with_what_was_compiled(entry, tmp_path):
    (tmp_path / "tmp").mkdir()
    told, said = run(entry, TMPDIR=str(tmp_path / "tmp"), HOME="/elsewhere")

    own = tmp_path / "tmp" / f"nodereg-cache-{os.getuid()}"
    assert all(told[name].startswith(str(own / "abc")) for name in CACHES)
    assert (own / "abc" / "numba" / "loop.nbc").read_text() == "compiled"
    assert own.stat().st_mode & 0o077 == 0
    assert told["HOME"] == "/elsewhere"
    assert said == ""
    assert sorted(path.name for path in own.iterdir()) == ["abc"]


def test_what_is_there_already_stays(entry, tmp_path):
    (tmp_path / "tmp").mkdir()
    run(entry, TMPDIR=str(tmp_path / "tmp"))
    kept = tmp_path / "tmp" / f"nodereg-cache-{os.getuid()}" / "abc" / "numba" / "loop.nbc"
    kept.write_text("newer")

    run(entry, TMPDIR=str(tmp_path / "tmp"))

    assert kept.read_text() == "newer"


def test_places_that_were_named_count(entry, tmp_path):
    (tmp_path / "tmp").mkdir()
    told, _ = run(entry, TMPDIR=str(tmp_path / "tmp"), NUMBA_CACHE_DIR="/mine", NUMBA_CPU_NAME="generic")

    assert told["NUMBA_CACHE_DIR"] == "/mine"
    assert told["NUMBA_CPU_NAME"] == "generic"
    assert "NUMBA_CPU_FEATURES" not in told


def test_without_tmp_the_work_folder_is_taken(entry, tmp_path):
    (tmp_path / "work").mkdir()
    told, said = run(entry, TMPDIR=str(tmp_path / "gone"))

    assert told["TMPDIR"] == str(tmp_path / "work")
    assert said == ""


def test_where_nothing_can_be_written_it_says_so_and_goes_on(entry, tmp_path):
    told, said = run(entry, TMPDIR=str(tmp_path / "gone"))

    assert "NUMBA_CACHE_DIR" not in told
    assert said.count("\n") == 1
    assert "--tmpfs /tmp:exec" in said


def test_a_folder_that_another_prepared_is_not_taken(entry, tmp_path):
    (tmp_path / "tmp").mkdir()
    trap = tmp_path / "trap"
    trap.mkdir()
    (tmp_path / "tmp" / f"nodereg-cache-{os.getuid()}").symlink_to(trap)

    told, _ = run(entry, TMPDIR=str(tmp_path / "tmp"))

    assert not Path(told["NUMBA_CACHE_DIR"]).resolve().is_relative_to(trap)
    assert not any(trap.iterdir())


def test_without_a_word_it_asks_for_help(entry):
    text = entry.read_text().replace("exec printenv -0; :", "exec printf %s")
    entry.write_text(text)
    told = subprocess.run(["sh", str(entry)], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "--help"


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_the_parts_of_a_dask_cluster_have_the_caches_too(entry, tmp_path, part):
    (tmp_path / "tmp").mkdir()
    program = tmp_path / "dask"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$NUMBA_CACHE_DIR" "$@"\n')
    program.chmod(0o755)
    text = entry.read_text()
    assert "exec /opt/venv/bin/dask" in text
    entry.write_text(text.replace("/opt/venv/bin/dask", str(program)))
    words = ["sh", str(entry), "dask", part, "tcp://10.0.0.1:8786", "--resources", "GPU=1"]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp")}
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)

    own = tmp_path / "tmp" / f"nodereg-cache-{os.getuid()}" / "abc"
    assert told.stdout.split("\n")[:-1] == [f"{own}/numba", *words[3:]]


def test_a_data_set_called_dask_is_none_of_them(entry):
    entry.write_text(entry.read_text().replace("exec printenv -0; :", "exec printf '%s '"))
    words = ["sh", str(entry), "dask", "out", "participant"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)

    assert told.stdout.split() == words[2:]
