"""The script of a Slurm array: printed for a data set, and run without Slurm, as a task would be."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bids_nodereg.app.gpus import with_gpus
from bids_nodereg.cli import main, parse
from bids_nodereg.durations import seconds_of
from bids_nodereg.errors import MissingInputError, NothingSelectedError, UsageError
from bids_nodereg.sbatch_cli import sbatch
from bids_nodereg.sbatch_container import MARK
from tests.bids.make import make_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")

FAKE = """\
#!/bin/bash
# In place of a program: says how it was called, and ends as it is told to.
trap 'echo "got USR1"; exit 75' USR1
trap 'echo "got TERM"; exit 75' TERM
{ pwd; printf '%s\\n' "${TMPDIR-}"; printf '%s\\0' "$@"; } > "$RECORD.tmp"
mv "$RECORD.tmp" "$RECORD"
[ -z "${WAIT-}" ] && exit "${CODE:-0}"
while :; do sleep 0.05; done
"""
REQUEUE = '#!/bin/bash\necho "$@" >> "$REQUEUED"\n'


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A data set of twelve participants without images, in a folder with an awkward name."""
    root = tmp_path / "my raw $(touch hacked) 'data'"
    for number in range(1, 13):
        (root / f"sub-{number:02}" / "anat").mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    return root


@pytest.fixture(autouse=True)
def image(tmp_path: Path, monkeypatch) -> Path:
    """A file in place of an image, and no templates of whoever runs the tests."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "no templates"))
    monkeypatch.delenv(MARK, raising=False)
    path = tmp_path / "my image.sif"
    path.touch()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "my out"


def printed(capsys, *words: object) -> str:
    assert main(["sbatch", *map(str, words)]) == 0
    return capsys.readouterr().out


class Node:
    """A machine with programs that only say how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record, self.requeued = folder / "record", folder / "requeued"
        self.scratch = folder / "scratch"
        programs = folder / "bin"
        for name, text in {"apptainer": FAKE, "docker": FAKE, "scontrol": REQUEUE}.items():
            program = programs / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(text)
            program.chmod(0o755)
        self.scratch.mkdir()
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "RECORD": str(self.record),
            "REQUEUED": str(self.requeued),
            "TMPDIR": str(self.scratch),
            "SLURM_JOB_ID": "4711",
            "SLURM_ARRAY_JOB_ID": "4708",
            "SLURM_ARRAY_TASK_ID": "3",
        }

    @contextmanager
    def task(self, script: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """Run a script as Slurm does: as a file, with a signal only for the shell."""
        path = self.folder / "job.sh"
        path.write_text(script)
        environment = {**self.environment, **more}
        command = ["bash", str(path)]
        with subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, script: str, **more: str) -> int:
        with self.task(script, **more) as process:
            return process.wait(20)

    def signalled(self, script: str, number: int, **more: str) -> tuple[int, str]:
        """Send a signal as soon as the program runs; exit code and what was printed."""
        with self.task(script, WAIT="1", **more) as process:
            deadline = time.monotonic() + 20
            while not self.record.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(number)
            said, _ = process.communicate(timeout=20)
            return process.returncode, said

    def words(self) -> list[str]:
        """How the program was called."""
        return self.record.read_text().split("\n", 2)[2].split("\0")[:-1]

    def seen_folder(self) -> str:
        return self.record.read_text().split("\n")[1]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def apptainer(capsys, raw: Path, out: Path, *words: str) -> str:
    image = raw.parent / "my image.sif"
    return printed(capsys, raw, out, "--container", "apptainer", "--image", image, *words)


def of_program(words: list[str]) -> list[str]:
    """Words after the image."""
    [image] = [number for number, word in enumerate(words) if word.endswith("/my image.sif")]
    return words[image + 1 :]


def bound(words: list[str]) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == "--bind"]


def after(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_a_task_runs_the_container_on_its_part(capsys, raw, out, node):
    script = apptainer(capsys, raw, out, "--participants-per-task", "5", "--", "--preset", "fast")
    assert "#SBATCH --array=1-3\n" in script
    assert node.run(script) == 0
    words = node.words()
    assert words[:3] == ["run", "--cleanenv", "--containall"]
    assert bound(words) == [f"{raw}:{raw}:ro", f"{out}:{out}"]
    config = parse(of_program(words))  # the program takes it
    assert (config.bids_dir, config.output_dir, config.selection.shard) == (raw, out, (3, 3))
    assert config.preset == "fast"
    assert out.is_dir()
    assert after(words, "--workdir").startswith(str(node.scratch))
    assert list(node.scratch.iterdir()) == []  # removed afterwards
    assert not list(node.folder.rglob("hacked"))


@pytest.mark.parametrize("code", [0, 1, 16, 75, 137, 138])
def test_a_task_ends_as_the_program_does(code, capsys, raw, out, node):
    assert node.run(apptainer(capsys, raw, out), CODE=str(code)) == code
    assert node.requeued.exists() is (code in {75, 138})
    assert list(node.scratch.iterdir()) == []


def test_a_task_that_ran_out_of_time_goes_back_into_the_queue(capsys, raw, out, node):
    code, said = node.signalled(apptainer(capsys, raw, out), signal.SIGUSR1)
    assert code == 75
    assert "got USR1" in said
    assert "task 3 is in the queue again" in said
    assert node.requeued.read_text() == "requeue 4708_3\n"
    assert list(node.scratch.iterdir()) == []


def test_a_task_that_is_cancelled_does_not(capsys, raw, out, node):
    code, said = node.signalled(apptainer(capsys, raw, out), signal.SIGTERM)
    assert (code, node.requeued.exists()) == (75, False)
    assert "got TERM" in said
    assert list(node.scratch.iterdir()) == []


def test_a_task_does_not_go_back_for_ever(capsys, raw, out, node):
    script = apptainer(capsys, raw, out)
    assert node.run(script, CODE="75", SLURM_RESTART_COUNT="10") == 75
    assert not node.requeued.exists()
    assert node.run(script, CODE="75", SLURM_RESTART_COUNT="9") == 75
    assert node.requeued.exists()


def test_what_slurm_gives_is_asked_for_and_passed_on(capsys, raw, out, node):
    words = (
        "--time 1:00:00 --mem 8G --cpus-per-task 6 --gres gpu:a100:1 --partition gpu,short --account my-lab"
    )
    script = apptainer(capsys, raw, out, "--max-running", "2", *words.split())
    for line in ("array=1-2%2", "time=1:00:00", "mem=8192M", "cpus-per-task=6", "gres=gpu:a100:1"):
        assert f"#SBATCH --{line}\n" in script
    for line in ("partition=gpu,short", "account=my-lab", "signal=B:USR1@120", "open-mode=append", "requeue"):
        assert f"#SBATCH --{line}\n" in script
    assert node.run(script, SLURM_ARRAY_TASK_ID="1", CUDA_VISIBLE_DEVICES="2") == 0
    called = node.words()
    assert "--nv" in called
    assert after(called, "--env") == "CUDA_VISIBLE_DEVICES=2"
    resources = parse(of_program(called)).resources
    assert (resources.time_limit_s, resources.n_cpus, resources.device) == (3600 - 120, 6, "cuda")
    assert 0.94 < resources.mem_mb * 1e6 / (8 * 2**30) < 0.96


def test_a_short_task_is_told_in_time(capsys, raw, out):
    """A notice two minutes before the end of two minutes would end it when it begins."""
    script = apptainer(capsys, raw, out, "--time", "2")
    assert "#SBATCH --signal=B:USR1@30\n" in script
    assert "--time-limit 0:01:30" in script


def test_what_the_options_say_themselves_is_not_said_again(capsys, raw, out):
    own = ("--time-limit", "30", "--n-cpus", "2", "--mem-mb", "900", "--device", "cpu")
    words = ("--time", "1:00:00", "--mem", "8G", "--cpus-per-task", "6", "--gres", "gpu:2")
    script = apptainer(capsys, raw, out, *words, "--", *own)
    for name in ("--time-limit", "--n-cpus", "--mem-mb", "--device"):
        assert script.count(f"{name} ") == 1
    assert "--gpus" not in script


def test_several_gpus_of_a_task_have_a_process_each(capsys, raw, out):
    assert "--gpus 2" in apptainer(capsys, raw, out, "--gres", "gpu:2")


@pytest.mark.parametrize(
    ("gres", "words", "told"),
    [
        ("gpu:2", ["--n-procs", "3"], "--n-procs 3: 2 GPUs cannot have as many processes each"),
        ("gpu:4", ["--gpus", "2", "--n-procs", "3"], "--n-procs 3: 2 GPUs cannot"),
        ("gpu:4", ["--gpus", "all", "--n-procs", "6"], "--n-procs 6: 4 GPUs cannot"),
        ("gpu:2", ["--gpus", "3"], "--gpus 3: --gres gives each task 2 GPU(s)"),
        ("gpu:1", ["--device", "cuda:1"], "--device cuda:1: --gres gives each task 1 GPU(s)"),
        ("gpu:2", ["--executor", "dask", "--n-procs", "4"], "--executor dask --n-procs 4: --gres gives"),
        ("gpu:2", ["--dask-workers", "3"], "--dask-workers 3: --gres gives"),
    ],
)
def test_what_the_gpus_of_a_task_cannot_do_is_refused(gres, words, told, capsys, raw, out, monkeypatch):
    """Without a GPU here, and without loading what would look for one."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["sbatch", str(raw), str(out), "--gres", gres, "--", *words]) == 64
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("gres", "words", "added"),
    [
        ("gpu:2", ["--n-procs", "4"], "--gpus 2 "),
        ("gpu:3", ["--gpus", "2", "--n-procs", "4"], ""),
        ("gpu:2", ["--device", "cuda:1"], ""),
        ("gpu:2", ["--device", "cpu", "--n-procs", "3"], ""),
        ("gpu:2", ["--executor", "dask"], "--device cuda "),
        ("gpu:2", ["--executor", "dask", "--n-procs", "2"], "--device cuda "),
        ("gpu:4", ["--dask-workers", "1"], "--device cuda "),
        ("ssd:1", ["--n-procs", "3"], ""),
    ],
)
def test_what_they_can_do_is_a_command_of_a_run(gres, words, added, capsys, raw, out, node, monkeypatch):
    """And the run takes it where there are these GPUs."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        script = apptainer(capsys, raw, out, "--gres", gres, "--", *words)
    assert f"    {added}{shlex.join(words)}\n" in script
    assert node.run(script, SLURM_ARRAY_TASK_ID="1") == 0
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gres[-1]))
    with_gpus(parse(of_program(node.words())))


def test_a_cluster_that_is_given_does_not_have_what_the_task_has(capsys, raw, out):
    words = ("--time", "1:00:00", "--mem", "8G", "--cpus-per-task", "6", "--gres", "gpu:2")
    script = apptainer(capsys, raw, out, *words, "--", "--dask-scheduler", "tcp://10.0.0.1:8786")
    assert "    --time-limit 0:58:00 --dask-scheduler tcp://10.0.0.1:8786\n" in script


def test_docker_runs_as_the_user_within_the_limits_of_the_task(capsys, raw, out, node):
    script = printed(
        capsys, raw, out, "--container", "docker", "--image", "nodereg:1", "--mem", "4G", "--gres", "gpu:2"
    )
    assert node.run(script, SLURM_ARRAY_TASK_ID="1", CUDA_VISIBLE_DEVICES="0,3") == 0
    # the last call is that which removes the container, in case it is still there
    assert node.words() == ["rm", "--force", "nodereg-4711"]
    node.record.unlink()
    code, _ = node.signalled(
        script.replace("docker rm", "true docker rm"), signal.SIGUSR1, CUDA_VISIBLE_DEVICES="0,3"
    )
    assert code == 75
    words = node.words()
    assert words[:2] == ["run", "--rm"]
    assert after(words, "--user") == f"{os.getuid()}:{os.getgid()}"
    assert after(words, "--gpus") == '"device=0,3"'
    assert after(words, "--memory") == "4096m"
    assert after(words, "--network") == "none"
    volumes = [words[i + 1] for i, word in enumerate(words) if word == "--volume"]
    assert volumes[0].startswith(str(node.scratch))
    assert volumes[1:] == [f"{raw}:{raw}:ro", f"{out}:{out}"]
    assert words[words.index("nodereg:1") + 3] == "participant"


@pytest.mark.parametrize(
    ("visible", "of_node", "device"),
    [
        ("0", "2", "2"),  # the first of the job is the third of the node
        ("0,1", "2,5", "2,5"),
        ("3", "", "3"),
        ("MIG-c6d4f1ef", "7", "MIG-c6d4f1ef"),
    ],
)
def test_docker_is_given_the_gpus_as_the_node_counts_them(visible, of_node, device, capsys, raw, out, node):
    script = printed(capsys, raw, out, "--container", "docker", "--image", "nodereg:1", "--gres", "gpu:2")
    script = script.replace("docker rm", "true docker rm")
    assert node.run(script, CUDA_VISIBLE_DEVICES=visible, SLURM_JOB_GPUS=of_node) == 0
    assert after(node.words(), "--gpus") == f'"device={device}"'


def test_a_container_that_a_killed_task_has_left_is_removed_first(capsys, raw, out, node):
    left = node.folder / "nodereg-4711"
    left.touch()
    (node.folder / "bin" / "docker").write_text(
        f"#!/bin/bash\n[ $1 = run ] || exec rm -f {shlex.quote(str(left))}\n"
        f"[ ! -e {shlex.quote(str(left))} ] || exit 125\n"
    )
    assert node.run(printed(capsys, raw, out, "--container", "docker", "--image", "nodereg:1")) == 0


def test_the_database_can_be_written_in_the_container(capsys, raw, out, node, tmp_path):
    database = tmp_path / "my database"
    for _ in range(2):  # where it is not there yet, and where it is
        assert node.run(apptainer(capsys, raw, out, "--", "--bids-database-dir", str(database))) == 0
        assert bound(node.words()) == [f"{raw}:{raw}:ro", f"{database}:{database}", f"{out}:{out}"]
        assert database.is_dir()


def test_without_a_container_this_python_is_used(capsys, raw, out, node):
    """A data set without images: the program says that there is no pair, which is an error of its own."""
    script = printed(capsys, raw, out, "--tasks", "4")
    assert f"{sys.executable} -m bids_nodereg" in script
    assert "#SBATCH --array=1-4\n" in script
    assert node.run(script.replace(sys.executable, str(node.folder / "bin/apptainer"))) == 0
    assert parse(node.words()[2:]).selection.shard == (3, 4)
    assert node.seen_folder().startswith(str(node.scratch))  # TMPDIR of the program


@pytest.mark.parametrize(
    ("participants", "options", "tasks"),
    [
        (12, (), 2),
        (12, ("--participants-per-task", "1"), 12),
        (12, ("--participants-per-task", "100"), 1),
        (12, ("--tasks", "5"), 5),
        (12, ("--tasks", "50"), 12),  # a task without a participant would fail
        (5, ("--participants-per-task", "2"), 3),
    ],
)
def test_every_participant_is_in_a_task_and_no_task_is_empty(participants, options, tasks, capsys, raw, out):
    labels = [f"{number:02}" for number in range(1, participants + 1)]
    some = () if participants == 12 else ("--", "--participant-label", *labels)
    script = printed(capsys, raw, out, *options, *some)
    assert f"#SBATCH --array=1-{tasks}\n" in script
    assert f'--shard "$task/{tasks}"' in script


def test_the_folder_on_the_node_may_be_a_variable(capsys, raw, out, node):
    script = apptainer(capsys, raw, out, "--work-dir", "$FAST/my $HOME")
    assert node.run(script, FAST=str(node.scratch)) == 0
    assert after(node.words(), "--workdir").startswith(f"{node.scratch}/my $HOME/nodereg-")
    assert node.run(script) != 0  # it is not set


def test_files_that_options_name_are_seen_in_the_container(capsys, raw, out, node, tmp_path):
    table = tmp_path / "my pairs.tsv"
    table.write_text("fixed\tmoving\n")
    atlas = tmp_path / "atlas.nii.gz"
    atlas.write_bytes(b"x")
    script = apptainer(
        capsys, raw, out, "--", "--derivatives", f"masks={tmp_path}", "--output-spaces", f"mine={atlas}"
    )
    assert node.run(script) == 0
    assert bound(node.words())[1:3] == [f"{tmp_path}:{tmp_path}:ro", f"{atlas}:{atlas}:ro"]


QUICK = "[settings]\nmargin_mm = 11.0\n"


def test_paths_may_have_an_equals_sign(capsys, raw, out, node, tmp_path):
    folder = tmp_path / "a=b"
    folder.mkdir()
    files = {
        "--config": (folder / "q.toml", QUICK),
        "--bids-filter-file": (folder / "filter.json", "{}"),
        "--participant-label": (folder / "labels=some.txt", "01\n"),
    }
    words: list[str] = []
    for name, (path, text) in files.items():
        path.write_text(text)
        words += [f"{name}={path}"] if name == "--config" else [name, str(path)]
    atlas, prep = folder / "atlas=1.nii", folder / "prep=1"
    atlas.write_bytes(b"x")
    prep.mkdir()
    words += ["--output-spaces", f"mine={atlas}", "-d", f"prep={prep}"]
    assert node.run(apptainer(capsys, raw, out, "--", *words)) == 0
    paths = [prep, *(path for path, _ in files.values()), atlas]
    assert set(bound(node.words())[1:-1]) == {f"{path}:{path}:ro" for path in paths}


def test_the_pairs_file_and_the_file_of_a_scheduler_are_seen(capsys, raw, out, node, tmp_path):
    table, scheduler = tmp_path / "pairs=1.tsv", tmp_path / "scheduler.json"
    table.write_text("fixed\tmoving\n")
    scheduler.write_text("{}")
    words = ("--pairs-file", str(table), "--dask-scheduler", str(scheduler), "--participant-label", "01")
    assert node.run(apptainer(capsys, raw, out, "--", *words)) == 0
    assert set(bound(node.words())[1:-1]) == {f"{path}:{path}:ro" for path in (table, scheduler)}


def test_a_word_that_is_no_path_is_not_bound(capsys, raw, out, node, tmp_path, monkeypatch):
    """Such as a preset or a suffix, beside a folder of that name."""
    monkeypatch.chdir(tmp_path)
    for name in ("fast", "T2w"):
        (tmp_path / name).write_text("x")
    words = ("--preset", "fast", "--moving-suffix", "T2w", "--apply-to", "T2w")
    assert node.run(apptainer(capsys, raw, out, "--", *words)) == 0
    assert len(bound(node.words())) == 2


def test_files_of_a_template_of_ones_own_are_seen_with_the_mask_beside_it(capsys, raw, out, node, tmp_path):
    """The mask of the first is named nowhere; without it the container would register the head."""
    names = ("one_T1w.nii.gz", "one_desc-brain_mask.nii.gz", "two.nii", "mask.nii")
    files = [tmp_path / "study" / name for name in names]
    files[0].parent.mkdir()
    for file in files:
        file.write_bytes(b"x")
    words = (f"one={files[0]}", f"two={files[2]},mask={files[3]}")
    assert node.run(apptainer(capsys, raw, out, "--", "--output-spaces", *words)) == 0
    assert set(bound(node.words())[1:-1]) == {f"{file}:{file}:ro" for file in files}
    assert "--env" not in node.words()
    assert main(["sbatch", str(raw), str(out), "--", "--output-spaces", f"one={tmp_path}/gone.nii"]) == 66


def home_with_a_template(folder: Path, *, mask: bytes = b"x") -> Path:
    template = folder / "tpl-MNI152NLin6Asym" / "tpl-MNI152NLin6Asym_res-01_T1w.nii.gz"
    template.parent.mkdir(parents=True)
    template.write_bytes(b"x")
    template.with_name("tpl-MNI152NLin6Asym_res-01_desc-brain_mask.nii.gz").write_bytes(mask)
    return folder


MNI = ("--", "--output-spaces", "MNI152NLin6Asym:res-1")


@pytest.mark.parametrize(("container", "bind"), [("apptainer", "--bind"), ("docker", "--volume")])
@pytest.mark.parametrize("named", [True, False])
def test_templates_of_this_machine_are_seen_in_the_container(
    named, container, bind, capsys, raw, out, node, monkeypatch
):
    """Those of TEMPLATEFLOW_HOME, or of the client's own place."""
    home = home_with_a_template(raw.parent / "cache" / "templateflow")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home) if named else "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(raw.parent / "cache"))
    assert main(["sbatch", str(raw), str(out), "--container", container, "--image", "docker://x", *MNI]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"nodereg: MNI152NLin6Asym: from {home}.\n"
    assert node.run(captured.out.replace("docker rm", "true docker rm")) == 0
    assert f"{bind} {home}:{home}:ro --env TEMPLATEFLOW_HOME={home} " in " ".join(node.words())


def with_templates(capsys, raw: Path, out: Path, *words: str) -> tuple[str, str]:
    """Script for templates in a container, and what was said."""
    image = str(raw.parent / "my image.sif")
    assert (
        main(["sbatch", str(raw), str(out), "--container", "apptainer", "--image", image, *MNI, *words]) == 0
    )
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_templates_that_are_not_here_are_those_of_the_image(capsys, raw, out, image, tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    script, said = with_templates(capsys, raw, out)
    assert f"MNI152NLin6Asym: from /opt/templateflow of the image, as not all of it is in {tmp_path}." in said
    assert "TEMPLATEFLOW_HOME" not in script
    words = ["--container", "apptainer", "--image", str(image), *MNI, "--fetch-templates"]
    assert main(["sbatch", str(raw), str(out), *words]) == 64
    assert "--fetch-templates does not go with --container" in capsys.readouterr().err


def test_a_part_of_a_template_does_not_take_the_place_of_the_whole(capsys, raw, out, tmp_path, monkeypatch):
    """A head whose mask is an empty placeholder would be registered without one, for this user only."""
    home = home_with_a_template(tmp_path / "templates", mask=b"")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home))
    script, said = with_templates(capsys, raw, out)
    assert "TEMPLATEFLOW_HOME" not in script
    assert str(home) not in script
    assert f"as not all of it is in {home}" in said
    (home / "tpl-MNI152NLin6Asym" / "tpl-MNI152NLin6Asym_res-01_desc-brain_mask.nii.gz").write_bytes(b"x")
    assert str(home) not in with_templates(capsys, raw, out, "MNI152NLin2009cAsym")[0]  # whole is all of them
    assert f"TEMPLATEFLOW_HOME={home}" in with_templates(capsys, raw, out)[0]


def test_a_template_without_any_mask_is_told(capsys, raw, out, tmp_path, monkeypatch):
    home = home_with_a_template(tmp_path / "templates")
    (home / "tpl-MNI152NLin6Asym" / "tpl-MNI152NLin6Asym_res-01_desc-brain_mask.nii.gz").unlink()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home))
    assert "where MNI152NLin6Asym has no brain mask" in with_templates(capsys, raw, out)[1]


@pytest.mark.parametrize("home", ["/opt/templateflow", "a whole one"])
def test_in_the_image_no_folder_of_templates_is_bound(home, capsys, raw, out, tmp_path, monkeypatch):
    """What is /templates there may be anything outside."""
    whole = home_with_a_template(tmp_path / "templates")
    monkeypatch.setenv(MARK, "1")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", home if home.startswith("/") else str(whole))
    script, said = with_templates(capsys, raw, out)
    assert "TEMPLATEFLOW_HOME" not in script
    assert said.startswith(
        "nodereg: MNI152NLin6Asym: from /opt/templateflow of the image. A folder of your own"
    )
    assert "not all of it is in /opt/templateflow" not in said


def test_the_folder_of_images_on_this_machine_is_not_bound(capsys, raw, out, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", "/opt/templateflow")
    script, said = with_templates(capsys, raw, out)
    assert "TEMPLATEFLOW_HOME" not in script
    assert "from /opt/templateflow of the image, not of this machine" in said


def test_without_a_container_templates_have_to_be_here(capsys, raw, out, tmp_path, monkeypatch):
    words = ["sbatch", str(raw), str(out), *MNI]
    assert main(words) == 66
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home_with_a_template(tmp_path / "templates")))
    assert main(words) == 0
    assert "TEMPLATEFLOW_HOME" not in capsys.readouterr().out


def image_words(raw: Path, out: Path, name: object) -> list[str]:
    return ["sbatch", str(raw), str(out), "--container", "apptainer", "--image", str(name)]


def test_an_image_is_found_wherever_the_task_runs(capsys, raw, out, node, image, monkeypatch):
    monkeypatch.chdir(image.parent)
    assert main(image_words(raw, out, image.name)) == 0
    assert node.run(capsys.readouterr().out) == 0
    assert str(image) in node.words()


@pytest.mark.parametrize("name", ["docker://registry/nodereg:1", "library://nodereg"])
def test_an_image_of_a_registry_is_left_as_it_is(name, capsys, raw, out, node):
    assert main(image_words(raw, out, name)) == 0
    assert node.run(capsys.readouterr().out) == 0
    assert name in node.words()


def test_an_image_that_is_not_there_is_refused(capsys, raw, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(image_words(raw, out, "nodereg.sif")) == 64
    assert f"there is no {tmp_path}/nodereg.sif. Give the absolute path" in capsys.readouterr().err
    assert main(image_words(raw, out, "/images/nodereg.sif")) == 64
    monkeypatch.setenv(MARK, "1")  # in a container, which need not see its own file
    assert main(image_words(raw, out, "/images/nodereg.sif")) == 0
    assert main(image_words(raw, out, "nodereg.sif")) == 64


def test_in_the_image_a_container_has_to_be_named(capsys, raw, out, monkeypatch):
    monkeypatch.setenv(MARK, "1")
    assert main(["sbatch", str(raw), str(out)]) == 64
    captured = capsys.readouterr()
    assert "--container apptainer --image FILE.sif" in captured.err
    assert captured.out == ""


def test_the_image_says_that_it_is_one():
    dockerfile = Path(__file__).parents[1] / "Dockerfile"
    if not dockerfile.is_file():
        pytest.skip("only in a checkout")
    assert re.search(rf"^ENV .*\n(.*\\\n)* *{MARK}=1", dockerfile.read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("container", ["none", "docker", "apptainer"])
def test_the_group_is_one_line_of_the_head(container, capsys, raw, out, image, node):
    """As a job that waits for the array; the shell is given what the head says, and records it."""
    words = () if container == "none" else ("--container", container, "--image", image)
    script = printed(capsys, raw, out, *words, "--partition", "long", "--gres", "gpu:1")
    [line] = [row[4:] for row in script.splitlines() if row.startswith("#   sbatch ")]
    called = shlex.split(line)
    assert called[:2] == ["sbatch", "--dependency=afterany:JOB"]
    assert "--partition=long" in called
    assert not any("gres" in word for word in called)
    wrapped = after(called, "--wrap").replace(sys.executable, "apptainer")
    assert node.run(f"#!/bin/bash\n{wrapped}\n") == 0
    assert node.words()[-3:] == [str(raw), str(out), "group"]


def test_a_time_of_minutes_is_told(capsys, raw, out):
    assert main(["sbatch", str(raw), str(out), "--time", "4"]) == 0
    assert "--time is 0:04:00" in capsys.readouterr().err
    assert main(["sbatch", str(raw), str(out), "--time", "4:00:00"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--container", "docker"], "--container docker needs --image"),
        (["--image", "x.sif"], "--container none takes no --image"),
        (["--tasks", "2", "--participants-per-task", "2"], "not allowed with"),
        (["--partition", "a; rm -rf /"], "a word of letters"),
        (["--mem", "much"], "such as 16G"),
        (["--mem", "16"], "got 16 MiB (did you mean 16G?)"),
        (["--mem", "900M"], "expected at least 1G, which the smallest pair needs, got 900 MiB. "),
        (["--gres", "gpus:2"], "expected gpu:N or gpu:TYPE:N with N of 1 or more, got 'gpus:2'"),
        (["--gres", "ssd:1,gpu:a100:0"], "got 'gpu:a100:0'. Without GPU, leave it out"),
        (["--gres", "GPU:1"], "got 'GPU:1'"),
        (["--gres", "gres/gpu=2"], "got 'gres/gpu=2'"),
        (["participant"], "leave out 'participant'"),
        (["--account", "group", "group"], "leave out 'group'"),
        (["--prest", "x"], "unrecognized arguments: --prest x."),
        (["--time", "soon"], "a length of time as"),
        (["--work-dir", "relative"], "an absolute path or"),
        (["--work-dir", "$A;reboot"], "an absolute path or"),
        (["--container", "docker", "--image", "a\nreboot"], "a line break cannot be in the name of an image"),
        (["--container", "docker", "--image", "a", "--work-dir", "/a:b"], "a colon or a comma"),
        (["--container", "docker", "--image", "a", "--work-dir", "$A/b:c"], "a colon or a comma"),
        (["--n-procs", "4"], "Options of the runs stand after --"),
        (["--", "--dry-run"], "--dry-run: the tasks are to register"),
        (["--mem", "4G", "--", "--mem-mb", "32000"], "--mem-mb 32000 is more than --mem gives a task (4295)"),
        (["--cpus-per-task", "8", "--", "--n-cpus", "16"], "more than --cpus-per-task gives a task (8)"),
        (["--", "--shard", "1/2"], "--shard: the script says it"),
        (["--", "--work-dir", "/scratch"], "--work-dir stands before --"),
        (["--", "--prest", "fast"], "unrecognized arguments: --prest"),
        (
            ["--container", "docker", "--image", "a", "--", "--dask-scheduler", "tcp://10.0.0.1:8786"],
            "--dask-scheduler does not go with --container docker",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_in_a_script(words, told, capsys, raw, out):
    assert main(["sbatch", str(raw), str(out), *words]) == 64
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


def test_a_file_in_the_place_of_the_output_is_told_now(tmp_path, raw, capsys):
    (tmp_path / "afile").write_text("x")
    assert main(["sbatch", str(raw), str(tmp_path / "afile")]) == 73
    assert capsys.readouterr().out == ""


def test_paths_that_a_container_cannot_take_are_refused(tmp_path, raw, out, monkeypatch):
    odd = tmp_path / "a:b"
    raw.rename(odd)
    image = ["--container", "apptainer", "--image", str(tmp_path / "my image.sif")]
    with pytest.raises(UsageError, match="a colon or a comma"):
        sbatch([str(odd), str(out), *image], parse)
    (tmp_path / "quick.toml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)
    odd.rename(raw)
    (tmp_path / "prep").mkdir()
    (tmp_path / "one.nii").write_bytes(b"x")
    (tmp_path / "some.txt").write_text("01\n")
    (tmp_path / "a,b.toml").write_text(QUICK)
    with pytest.raises(UsageError, match="a colon or a comma"):
        sbatch([str(raw), str(out), *image, "--", "--config", str(tmp_path / "a,b.toml")], parse)
    with pytest.raises(MissingInputError, match=r"names /gone\.json, and there is no such file"):
        sbatch([str(raw), str(out), *image, "--", "--bids-filter-file", "/gone.json"], parse)
    for words in (
        ["--config", "quick.toml"],
        ["--config=quick.toml"],
        ["--bids-database-dir", "database"],
        ["--derivatives", "prep=prep"],
        ["--output-spaces", "mine=one.nii"],
        ["--output-spaces", f"mine={tmp_path}/one.nii,mask=one.nii"],
        ["--participant-label", "some.txt"],
    ):
        with pytest.raises(UsageError, match="by its absolute path"):
            sbatch([str(raw), str(out), *image, "--", *words], parse)


def test_labels_that_are_not_there_are_told(raw, out):
    with pytest.raises(NothingSelectedError, match="99"):
        sbatch([str(raw), str(out), "--", "--participant-label", "99"], parse)


def test_a_data_set_called_sbatch_is_told_from_it(tmp_path, raw, out, monkeypatch, capsys):
    """The folder has to be there, and two other folders before the level are one too many for it."""
    monkeypatch.chdir(tmp_path)
    assert main(["sbatch", "out", "participant", "--dry-run"]) == 64
    assert "leave out 'participant'" in capsys.readouterr().err
    make_dataset(tmp_path / "sbatch", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    assert main(["sbatch", "out", "participant", "--dry-run=json"]) == 0
    assert capsys.readouterr().out.count('"taken": true') == 1
    assert main(["sbatch", str(raw), str(out), "participant"]) == 64
    assert "A data set in a folder sbatch is ./sbatch" in capsys.readouterr().err


def test_the_account_may_be_called_group(tmp_path, capsys, raw, out, monkeypatch):
    """Also beside a folder of the sub-command's name, and whatever stands after an option."""
    monkeypatch.chdir(tmp_path)
    assert "#SBATCH --account=group\n" in printed(capsys, raw, out, "--account", "group")
    (tmp_path / "sbatch").mkdir()
    assert "#SBATCH --account=group\n" in printed(capsys, raw, out, "--account", "group")
    assert "#SBATCH --account=group\n" in printed(capsys, "--account", "group", raw, out)
    assert main(["sbatch", str(raw), str(out), "--", "--participant-label", "group"]) == 18


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("container", ["none", "docker", "apptainer"])
def test_shellcheck_finds_nothing(container, capsys, raw, out, image, tmp_path):
    with_image = () if container == "none" else ("--image", image)
    words = ("--time", "4:00:00", "--mem", "4G", "--cpus-per-task", "2", "--gres", "gpu:1")
    plain = raw.rename(tmp_path / "my raw")  # it takes a dollar sign in single quotes for a slip
    path = tmp_path / "job.sh"
    path.write_text(printed(capsys, plain, out, "--container", container, *with_image, *words))
    found = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_time_of_a_task_is_the_programs_and_the_notice(capsys, raw, out):
    for time_asked in ("4", "10", "4:00:00", "2-00:00:00"):
        script = apptainer(capsys, raw, out, "--time", time_asked)
        notice = int(script.split("B:USR1@")[1].split("\n")[0])
        limit = script.split("--time-limit ")[1].split()[0]
        assert seconds_of(limit) + notice == seconds_of(time_asked)
