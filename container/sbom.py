"""Print what is in the image as a CycloneDX document: ``python sbom.py``, inside the image.

Python packages by their metadata, Debian's by the package database, each with version, licence where it is
told, and package URL. The same image gives the same bytes: neither a date nor a random number is written.

Source of the format: CycloneDX 1.6 (ECMA-424).
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DPKG = Path("/var/lib/dpkg/status")
APPLICATION = "bids-nodereg"

Component = dict[str, Any]


def component(kind: str, name: str, version: str, purl: str, licence: str = "") -> Component:
    """One component; the licence is a text as its authors wrote it."""
    entry = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return {**entry, "licenses": [{"license": {"name": licence}}]} if licence else entry


def licence_of(described: metadata.PackageMetadata) -> str:
    """Licence of a Python package: its expression, else its classifiers, else the first line of its field."""
    expression = described.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = described.get_all("Classifier") or []
    named = [str(text).rpartition(" :: ")[2] for text in classifiers if str(text).startswith("License ::")]
    lines = str(described.get("License") or "").strip().splitlines()
    return " AND ".join(named) or (lines[0][:100] if lines else "")


def python_packages(distributions: Iterable[metadata.Distribution]) -> Iterator[Component]:
    """What pip installed. A local version, as torch's ``+cpu``, is part of the version."""
    for each in distributions:
        name, version = each.metadata["Name"], each.version
        kind = "application" if name == APPLICATION else "library"
        plain = name.lower().replace("_", "-")
        yield component(kind, name, version, f"pkg:pypi/{plain}@{quote(version)}", licence_of(each.metadata))


def debian_packages(status: str) -> Iterator[Component]:
    """What Debian's package database calls installed; ``status`` is its text."""
    for paragraph in status.split("\n\n"):
        pairs = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith(" "))
        fields = {key: value for key, _, value in pairs}
        if fields.get("Status") == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
            yield component("library", name, version, purl)


def document(components: Iterable[Component]) -> dict[str, Any]:
    """The whole document; a package that is found twice stands there once."""
    unique = {entry["bom-ref"]: entry for entry in components}
    ours = [entry for entry in unique.values() if entry["type"] == "application"]
    others = [entry for entry in unique.values() if entry["type"] != "application"]
    python = component(
        "platform", "python", platform.python_version(), f"pkg:generic/python@{platform.python_version()}"
    )
    listed = sorted([*others, python], key=lambda entry: entry["purl"])
    known = {"metadata": {"component": ours[0]}} if ours else {}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, **known, "components": listed}


def main() -> None:
    """Describe this Python's packages and this system's."""
    status = DPKG.read_text(encoding="utf-8") if DPKG.is_file() else ""
    found = [*python_packages(metadata.distributions()), *debian_packages(status)]
    sys.stdout.write(json.dumps(document(found), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
