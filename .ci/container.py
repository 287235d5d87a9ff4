"""Build the container image for real and check it: ``make container``; bounded in time, loud where it skips.

    tools -> a Debian with Python as base -> the Dockerfile -> checks of the image (image_checks.py)

Where the tools, the rights or the network to build an image are missing, one line says so and the exit code
is 0. A fault of the image, of the Dockerfile or of the program in it is 1. What takes long to make (the base,
the layers of the image) is kept in ``$XDG_CACHE_HOME/nodereg-container``.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import image_checks  # noqa: E402
from image_checks import SkippedError  # noqa: E402

TOOLS = {"buildah": "buildah", "podman": "podman", "runc": "runc", "mmdebstrap": "mmdebstrap"}
"""Programs that are needed, and the Debian packages that have them."""

BASE = "localhost/nodereg-base:bookworm"
IMAGE = "localhost/nodereg:ci"
PATIENCE_S = int(os.environ.get("CONTAINER_PATIENCE_S", "900"))
ROOM_BYTES = 10_000_000_000
LAST_LINES = 12
"""Lines at the end of a build that say why it ended: what stands above them was got over."""

NOT_THE_IMAGE = re.compile(
    r"Retry\(total=0.*after connection broken by|"
    r"^(?!WARNING: Retrying).*("
    r"Read timed out|Connection (timed out|reset|refused|broken|failed)|NewConnectionError|Could not connect|"
    r"Network is unreachable|Temporary failure (in name )?resol|Could not resolve|Failed to fetch|"
    r"IncompleteRead|RemoteDisconnected|Max retries exceeded|HTTP error 5\d\d|\b5\d\d Server Error|"
    r"No space left on device|Disk quota exceeded)",
    re.IGNORECASE,
)
"""What pip, apt and buildah say where an index cannot be reached, or where there is no room.

pip warns at each of its attempts; the one that has no other after it counts.
"""

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDICES = ("index-url", "extra-index-url", "find-links")
"""Settings of pip that name where packages come from."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Place:
    """Where images are kept, and until when there is time.

    Attributes
    ----------
    folder
        Keeps the base, the layers and the images.
    ends
        Time of the monotonic clock at which all must be done.
    """

    folder: Path
    ends: float

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which buildah and podman use this place."""
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
        }

    def run(
        self, *words: str, cwd: Path = ROOT, patience_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in what time is left; its output is kept, not shown.

        With a ``patience_s`` of its own, what takes longer ends with 124, as under ``timeout``.

        Raises
        ------
        SkippedError
            If the time is over: a slow machine is no fault of the image.
        """
        try:
            left = max(1.0, self.ends - time.monotonic())
            return _bounded(words, cwd, self.environment, left if patience_s is None else patience_s)
        except subprocess.TimeoutExpired:
            if patience_s is not None:
                return subprocess.CompletedProcess(words, 124, "", f"not done within {patience_s:.0f} s")
            msg = f"{PATIENCE_S} s are over, in the middle of: {' '.join(words[:3])}"
            raise SkippedError(msg) from None
        except OSError as error:  # no such program: as a shell would say it
            return subprocess.CompletedProcess(words, 127, "", f"{words[0]}: {error.strerror}")


def _bounded(
    words: tuple[str, ...], cwd: Path, environment: dict[str, str], patience_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command with all that it starts, and end all of it when the time is over."""
    pipe, text = subprocess.PIPE, {"text": True, "errors": "replace", "cwd": cwd, "env": environment}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True, **text
    ) as process:
        try:
            out, told = process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, told)


def say(text: str) -> None:
    """Print a line now: the steps take minutes."""
    print(f"container: {text}", flush=True)


def last_words(answer: subprocess.CompletedProcess[str]) -> str:
    """What a command said last, for a message of one line."""
    lines = (answer.stderr or answer.stdout).strip().splitlines()
    return "; ".join(lines[-2:])[:300] or f"exit code {answer.returncode}"


def must(answer: subprocess.CompletedProcess[str], what: str) -> None:
    """Skip all the rest where a step that the machine owes did not work."""
    if answer.returncode:
        msg = f"{what}: {last_words(answer)}"
        raise SkippedError(msg)


def need_root() -> None:
    """See that this is root, before anything is written."""
    if os.geteuid() != 0:
        msg = "it needs root, for the namespaces and file systems of containers"
        raise SkippedError(msg)


def find_tools(place: Place) -> None:
    """See that the tools are there, or install them where Debian's packages can be had."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        msg = f"{', '.join(missing)} not installed, and there is no apt-get to install with"
        raise SkippedError(msg)
    say(f"installing {', '.join(missing)}")
    must(place.run("apt-get", "update"), "apt-get update")
    options = ("-o", "DPkg::Lock::Timeout=120", "--yes", "--no-install-recommends")
    must(place.run("apt-get", "install", *options, *missing), "apt-get install")


def make_place(ends: float) -> Place:
    """Lay out the folder of images; its settings are those that work in a container too."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = Place(cache / "nodereg-container", ends)
        place.folder.mkdir(parents=True, exist_ok=True)
        _write_settings(place.folder)
        free = shutil.disk_usage(place.folder).free
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        msg = f"the folder for images cannot be written: {error}"
        raise SkippedError(msg) from error
    if free < ROOM_BYTES:
        msg = f"{place.folder} has {free / 1e9:.0f} GB free, {ROOM_BYTES / 1e9:.0f} GB are needed"
        raise SkippedError(msg)
    return place


def _write_settings(folder: Path) -> None:
    """Settings of buildah and podman; always the same for a folder."""
    storage = f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/store"\n'
    (folder / "storage.conf").write_text(storage)
    # crun knows no mixed control groups, and rlimits above those of this process are refused.
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]'
    (folder / "containers.conf").write_text(f'[engine]\nruntime = "runc"\n[containers]\n{limits}\n')


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keep other runs out of the folder: each removes layers and results that it finds there.

    Raises
    ------
    SkippedError
        If there is another run.
    """
    folder = os.open(place.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"{place.folder} is in use by another run, or cannot be locked: {error}"
            raise SkippedError(msg) from error
        yield
    finally:
        os.close(folder)


def make_base(place: Place) -> None:
    """Make a Debian with Python, from the mirror that this machine's own packages come from."""
    if place.run("podman", "image", "exists", BASE).returncode == 0:
        return
    say("making a Debian with Python as base")
    told = place.run("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages")
    sites = [line.split()[0] for line in told.stdout.splitlines() if line.split()[1:] == ["bookworm"]]
    if not sites:
        msg = "the package sources of this machine do not name Debian bookworm"
        raise SkippedError(msg)
    archive = place.folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    source = f"deb {sites[0]} bookworm main"
    made = place.run(
        "mmdebstrap", "--mode=root", "--variant=minbase", packages, "bookworm", str(archive), source
    )
    must(made, "mmdebstrap")
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    must(place.run("podman", "import", "--change", path, str(archive), BASE), "podman import")
    archive.unlink()


def try_container(place: Place) -> None:
    """See that a container can be run at all."""
    words = ("run", "--rm", "--read-only", "--user", "4321:4321", "--network", "none", BASE, "true")
    must(place.run("podman", *words), "podman run")


def pip_settings(place: Place) -> tuple[str, list[Path]]:
    """Settings of pip on this machine as a file, and the local files that they name.

    Returns
    -------
    tuple
        Text of a ``pip.conf``, and paths that must be the same inside a build.
    """
    told = place.run(sys.executable, "-m", "pip", "config", "list").stdout
    pairs = dict(re.findall(r"^(?::env:|global)\.(?P<key>[\w-]+)='(?P<value>.*)'$", told, flags=re.MULTILINE))
    text = "[global]\n" + "".join(f"{key.lstrip('.')} = {value}\n" for key, value in pairs.items())
    paths = {_local(word) for value in pairs.values() for word in value.split()}
    return text, sorted(path for path in paths if path.is_absolute() and path.exists())


def _local(word: str) -> Path:
    """Where a setting of pip leads on this machine: of an index the folder around it, where its files lie."""
    return Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)


def build_options(place: Place) -> list[str]:
    """Let a build reach packages as this machine does: pip's settings, certificates, local indices."""
    text, paths = pip_settings(place)
    settings = place.folder / "pip.conf"
    settings.write_text(text)
    mounts = {settings: Path("/etc/pip.conf"), **{path: path for path in paths}}
    if CERTIFICATES.is_file():
        mounts[CERTIFICATES] = CERTIFICATES
    options = [word for here, there in mounts.items() for word in ("--volume", f"{here}:{there}:ro")]
    index = torch_index(text)
    return [*options, *(("--build-arg", f"TORCH_INDEX={index}") if index else ())]


def torch_index(settings: str) -> str:
    """Where torch comes from: as ``TORCH_INDEX`` says, else from where pip's settings say (then it is empty).

    Where neither names a place: a torch without CUDA libraries, for which there is neither room nor time.
    """
    is_named = any(re.search(rf"^{key} = \S", settings, flags=re.MULTILINE) for key in INDICES)
    return os.environ.get("TORCH_INDEX", "" if is_named else CPU_INDEX)


def reach_packages(place: Place) -> None:
    """See that pip reaches its index: a build without it is no fault of the image."""
    probe = place.folder / "probe"
    words = (
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--quiet",
        "--dest",
        str(probe),
        "tomli-w",
    )
    answer = place.run(sys.executable, *words, "--constraint", "constraints.txt")
    shutil.rmtree(probe, ignore_errors=True)
    must(answer, "pip reaches no packages")


def build(place: Place) -> None:
    """Build the Dockerfile as it is, on the base.

    Raises
    ------
    SystemExit
        If it cannot be built.
    SkippedError
        If that is for want of a network or of room.
    """
    say("building the image")
    place.run("buildah", "rm", "--all")  # what a build that was ended has left
    begun = time.monotonic()
    revision = place.run("git", "rev-parse", "HEAD").stdout.strip() or "unknown"
    arguments = {"BASE_IMAGE": BASE, "VERSION": (ROOT / "version").read_text().strip(), "REVISION": revision}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    flags = ("--layers", "--pull-never", "--isolation", "chroot", *build_options(place))
    answer = place.run("buildah", "bud", *flags, *words, "--tag", IMAGE, ".")
    for line in re.findall(r"^templates: .*", answer.stdout, flags=re.MULTILINE):
        say(line)
    if answer.returncode:
        _fail(answer)
    say(f"built in {time.monotonic() - begun:.0f} s")
    # Layers of old builds: those of the last days make the next one fast, all of them would fill the disk.
    place.run("podman", "image", "prune", "--force", "--filter", "until=72h")


def _fail(answer: subprocess.CompletedProcess[str]) -> NoReturn:
    """End with what the build said, unless it is the network or room that is missing."""
    lines = answer.stderr.strip().splitlines()[-LAST_LINES:]
    if any(NOT_THE_IMAGE.search(line) for line in lines):
        msg = f"it could not be built for want of a network or of room: {last_words(answer)}"
        raise SkippedError(msg)
    told = (answer.stdout + answer.stderr)[-4000:]
    sys.exit(f"container: FAILED: the image could not be built.\n{told}")


def main() -> int:
    """All steps; returns the exit code."""
    ends = time.monotonic() + PATIENCE_S
    try:
        need_root()
        place = make_place(ends)
        with alone(place):
            find_tools(place)
            make_base(place)
            try_container(place)
            reach_packages(place)
            build(place)
            faults = image_checks.check(place.run, IMAGE, place.folder, say)
    except SkippedError as missing:
        say(f"SKIPPED, the image was NOT built and checked: {missing}")
        return 0
    for fault in faults:
        say(f"FAILED: {fault}")
    say(f"{len(faults)} check(s) of the image failed" if faults else "the image passed all checks")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
