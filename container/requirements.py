"""Print what the program needs, without the program: ``python3 requirements.py [EXTRA...]``.

The image installs it in a layer of its own, which a change of the program does not make old. Reads
``pyproject.toml`` beside this file; needs Python 3.11 or newer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """Dependencies of a project table, with those of some of its extras."""
    optional = project.get("optional-dependencies", {})
    unknown = [name for name in extras if name not in optional]
    if unknown:
        sys.exit(f"EXTRAS: there is no {', '.join(unknown)}. Expected some of: {', '.join(optional)}.")
    return [*project["dependencies"], *(each for name in extras for each in optional[name])]


if __name__ == "__main__":
    described = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write("\n".join(requirements(described["project"], sys.argv[1:])) + "\n")
