"""Look for insecure code, secrets and vulnerable packages: ``make scan``.

Bounded in time, and loud about what it could not do: a scan that has seen nothing is not clean. Ends with
1 where something was found or a scan broke, else with 0: only what needs the network may be left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240
NAMES_OF_TEMPLATES = "MNI152.*"
"""Long words of letters and digits that are no secrets."""
NO_NETWORK = ("connection", "connect to", "timed out", "name resolution", "took more than", "proxy")
"""What pip-audit and its libraries say, in small letters, of an index that cannot be reached."""

CLEAN, FOUND, BROKEN, SKIPPED = "clean", "FOUND", "BROKEN", "SKIPPED"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one module of this Python in the root of the project; 124 where it takes too long."""
    command = [sys.executable, "-m", *words]
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"took more than {PATIENCE_S} s")


def code() -> tuple[str, str]:
    """Insecure code. B704 is ruff's S704, where every use stands with its reason."""
    answer = run("bandit", "--quiet", "--recursive", "bids_nodereg", "-ll", "--skip", "B704")
    if answer.returncode == 0:
        return CLEAN, answer.stdout
    # it ends with 1 where it found something, and so does a Python that could not run it
    is_found = answer.returncode == 1 and answer.stdout.strip()
    return (FOUND, answer.stdout) if is_found else (BROKEN, answer.stderr)


def secrets() -> tuple[str, str]:
    """Secrets in the files that are committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    answer = run("detect_secrets", "scan", "--exclude-secrets", NAMES_OF_TEMPLATES, *files)
    if answer.returncode or not files:
        return BROKEN, answer.stderr or "no file is under version control here"
    results = json.loads(answer.stdout)["results"]
    lines = [f"{name}:{each['line_number']}: {each['type']}" for name in results for each in results[name]]
    return (FOUND if lines else CLEAN), "\n".join(lines) or f"{len(files)} files"


def packages() -> tuple[str, str]:
    """Packages that do not fit together."""
    answer = run("pip", "check")
    return (FOUND if answer.returncode else CLEAN), answer.stdout


def vulnerabilities() -> tuple[str, str]:
    """Known vulnerabilities of the versions in constraints.txt; needs the network."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "audit.json"
        words = (
            "--requirement",
            "constraints.txt",
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
        )
        answer = run("pip_audit", *words, "--format", "json", "--output", str(told))
        rows = json.loads(told.read_text())["dependencies"] if told.is_file() else []
    seen = [row for row in rows if "skip_reason" not in row]
    lines = [
        f"{row['name']} {row['version']}: {found['id']}, mended in {found['fix_versions']}"
        for row in seen
        for found in row["vulns"]
    ]
    count = f"{len(seen)} of {len(rows)} packages were looked up"
    if not seen:
        reason = answer.stderr.strip().splitlines()[-1:] if not rows else []
        is_offline = rows or any(words in answer.stderr.lower() for words in NO_NETWORK)
        told = "\n".join([f"{count}; is the package index reachable?", *reason])
        return (SKIPPED if is_offline else BROKEN), told
    return (FOUND if lines else CLEAN), "\n".join([*lines, count])


SCANS = {
    "insecure code (bandit)": code,
    "secrets (detect-secrets)": secrets,
    "packages that do not fit (pip check)": packages,
    "vulnerable packages (pip-audit)": vulnerabilities,
}


def main() -> int:
    """Do every scan, say what came out; returns the exit code."""
    endings = []
    for name, scan in SCANS.items():
        ending, text = scan()
        endings.append(ending)
        print(f"{'!!' if ending != CLEAN else '  '} {ending:8}{name}")
        print("".join(f"           {line}\n" for line in text.strip().splitlines()), end="")
    skipped = endings.count(SKIPPED)
    if skipped:
        print(f"!! {skipped} of {len(SCANS)} scans could not be done and say nothing.")
    return int(FOUND in endings or BROKEN in endings)


if __name__ == "__main__":
    sys.exit(main())
