"""Ask the BIDS validator about the input, where there is one."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

from bids_nodereg.errors import InvalidDatasetError

LOG = logging.getLogger("nodereg")
PROGRAM = "bids-validator-deno"
SHOWN = 5


def validate_input(bids_dir: Path) -> None:
    """Run ``bids-validator-deno`` on a data set; without the program one line says so.

    Raises
    ------
    InvalidDatasetError
        If the validator finds an error; the first ones are named.
    """
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if program is None:
        LOG.info("%s is not installed: the input is not validated.", PROGRAM)
        return
    command = [program, "--format", "json", "--ignoreWarnings", str(bids_dir)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    try:
        issues = json.loads(answer.stdout)["issues"]["issues"]
    except (ValueError, KeyError):
        LOG.warning(
            "%s gave no result (exit code %d): the input is not validated.", PROGRAM, answer.returncode
        )
        return
    errors = [issue for issue in issues if issue.get("severity") == "error"]
    if errors:
        shown = "; ".join(f"{issue['code']} {issue.get('location', '')}" for issue in errors[:SHOWN])
        msg = (
            f"{bids_dir}: not valid BIDS, {len(errors)} error(s): {shown}. Run {PROGRAM} on it for all, "
            "mend them, or use --skip-bids-validation."
        )
        raise InvalidDatasetError(msg)
