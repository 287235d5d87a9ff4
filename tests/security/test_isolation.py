"""A whole run: no connection, no file outside of its folders, and the modes that the umask asks for."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bids_nodereg.app.log import log_to_file
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.lock import locked
from bids_nodereg.files import write_text
from tests.app.dataset import make_study
from tests.bids.make import make_dataset
from tests.quality.pages import Page
from tests.security.hostile import ALL, TEXTS

# Run in a new process, because what is imported already cannot be watched any more.
WATCHED = """
import os, sys
told = []
def watch(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.sendto")):
        told.append(f"{event} {arguments[1:]}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        add(arguments[:1])
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"):
        add(arguments)
def add(names):
    written.update(os.path.abspath(os.fsdecode(name)) for name in names if isinstance(name, (str, bytes)))
written = set()
sys.addaudithook(watch)
os.umask(int(sys.argv[1], 8))
from bids_nodereg.cli import main
code = main(sys.argv[3:])
with open(sys.argv[2], "w") as file:
    file.write("\\n".join([*told, "--", *sorted(written)]))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose every text of its own is hostile."""
    made = make_study(tmp_path_factory.mktemp("study"))
    for root in (made.raw, made.truth):
        file = root / "dataset_description.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "Name": ALL, "License": ALL, "DatasetDOI": ALL}))
    plain = " ".join(TEXTS[case] for case in TEXTS.keys() - {"control characters", "half a character"})
    for table in made.truth.rglob("*_dseg.tsv"):
        table.write_text("index\tname\n" + "".join(f"{code}\t{plain}\n" for code in range(1, 6)), "utf-8")
    sidecar = made.moving.with_name("sub-01_T2w.json")
    sidecar.write_text(json.dumps({"SeriesDescription": ALL, "EchoTime": ALL}))
    return made


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "watched.py"
    path.write_text(WATCHED)
    return path


def without_network() -> list[str]:
    """Words before a command that take the network away, where the system lets a user do that."""
    if shutil.which("unshare") is None:
        return []
    words = ["unshare", "--map-root-user", "--net"]
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if tried.returncode == 0 else []


@pytest.mark.timeout(600)  # loops are compiled anew, with nothing of the user's cache
def test_a_run_keeps_to_its_folders_and_asks_nobody(study, program, tmp_path, outcome):
    """The umask is one that nobody has as a default, so that no mode is right by chance."""
    umask = "027"
    out, told = tmp_path / "out", tmp_path / "told.txt"
    home = tmp_path / "home"
    home.mkdir()
    more = ["--participant-label", "01", "--transform", "rigid", "--bids-database-dir", str(tmp_path / "db")]
    command = [
        *without_network(),
        sys.executable,
        str(program),
        umask,
        str(told),
        *study.arguments(out, *more),
    ]
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPATH": "."}
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=250
    )

    assert answer.returncode == 0, answer.stderr[-3000:]
    connections, _, written = told.read_text().partition("--\n")
    assert connections == ""
    elsewhere = [path for path in written.splitlines() if not is_expected(Path(path), [tmp_path])]
    assert elsewhere == []
    assert [path for path in study.raw.rglob("*") if path.stat().st_mtime > program.stat().st_mtime] == []
    for path in (*out.rglob("*"), *(tmp_path / "db").rglob("*")):
        whole = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == whole & ~int(umask, 8), path
    assert_pages_are_plain(out)
    outcome(
        "hostile", "a whole run with hostile texts in every JSON field and label name", "shown as text", 0
    )
    words = "run under umask 027, without a network, every file and connection watched"
    outcome("hostile", words, "no connection, all files inside and of that mode", 0)


def assert_pages_are_plain(out: Path) -> None:
    """See that a page has its own script alone, and that texts for people have no markup."""
    pages = list(out.glob("*.html"))
    assert pages
    for page in pages:
        read = Page(page.read_text("utf-8"))
        assert all(address.startswith("data:image/") for address in read.loads)
        assert [name for name, _ in read.elements].count("script") == 1
        assert "PWNED" not in "".join(read.scripts)
    for text in (out / "README.md", out / "logs" / "CITATION.md"):
        assert "<script" not in text.read_text("utf-8")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_every_way_to_write_a_file_follows_the_umask(tmp_path, umask, outcome):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new" / "folder" / "a.json", "{}")
        with locked(tmp_path / "new"), log_to_file(tmp_path / "logs" / "run.log"):
            lock = stat.S_IMODE((tmp_path / "new" / ".nodereg.lock").stat().st_mode)
        root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz")
        open_dataset(root, database_dir=tmp_path / "db").images("01")
    finally:
        os.umask(before)
    assert lock == 0o666 & ~umask
    for top in ("new", "logs", "db"):
        for path in (tmp_path / top, *(tmp_path / top).rglob("*")):
            whole = 0o777 if path.is_dir() else 0o666
            assert stat.S_IMODE(path.stat().st_mode) == whole & ~umask, path
    outcome("hostile", f"files, folders, lock, log and database under umask {umask:03o}", "that mode")


def is_expected(path: Path, folders: list[Path]) -> bool:
    """Whether a run may write there: its own folders, compiled code, devices, what is temporary."""
    compiled = path.suffix in {".pyc", ".nbi", ".nbc"} or "__pycache__" in path.parts
    system = path.is_relative_to("/dev") or path.is_relative_to("/proc")
    # torch makes that folder when its optimisers are loaded, and puts nothing into it
    torchs = path.name.startswith("torchinductor_")
    gone = path.is_relative_to(tempfile.gettempdir()) and not path.exists()
    return compiled or system or torchs or gone or any(path.is_relative_to(folder) for folder in folders)
