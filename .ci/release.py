"""Whether the tree is ready to be released as a tag says; prints the notes of that release.

``python .ci/release.py v0.1.0 > notes.md``. Needs nothing but Python. Ends with 1, and says what does not
agree, where the tag, ``version``, ``CITATION.cff`` and ``CHANGELOG.md`` do not tell the same.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+)?")
"""Three numbers of Semantic Versioning, and a pre-release as Python's packages spell it."""
HEADING = re.compile(r"^## \[(?P<name>[^]]+)\](?: - (?P<date>.*))?$", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Section:
    """A release in the changelog: its name, its date if it has one, and the text below."""

    name: str
    date: str | None
    text: str


def sections(changelog: str) -> tuple[Section, ...]:
    """Releases of a changelog, in the order in which they stand there."""
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    return tuple(
        Section(heading["name"], heading["date"], changelog[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    )


def citation_fields(citation: str) -> dict[str, str]:
    """Lines ``key: value`` of the outermost level of a CITATION.cff."""
    return dict(re.findall(r"^([a-z-]+): *\"?(.*?)\"?$", citation, flags=re.MULTILINE))


def disagreements(version: str, changelog: str, citation: str) -> list[str]:
    """Sentences about what is not as a release of ``version`` needs it; none where all is well."""
    told = []
    if not VERSION.fullmatch(version):
        told.append(f"version: {version!r} is not MAJOR.MINOR.PATCH")
    cited = citation_fields(citation)
    if cited.get("version") != version:
        told.append(f"CITATION.cff: version is {cited.get('version')}, version says {version}")
    released = {section.name: section for section in sections(changelog)}
    mine = released.get(version)
    if mine is None:
        return [*told, f"CHANGELOG.md: no section '## [{version}] - DATE'"]
    if not DATE.fullmatch(mine.date or ""):
        told.append(f"CHANGELOG.md: {version} has the date {mine.date}, expected YYYY-MM-DD")
    if mine.date != cited.get("date-released"):
        told.append(
            f"CITATION.cff: date-released is {cited.get('date-released')}, CHANGELOG.md has {mine.date}"
        )
    if not mine.text:
        told.append(f"CHANGELOG.md: nothing stands under {version}")
    return told


def main(words: list[str]) -> int:
    """Check the tree; print the notes where all is well. Returns the exit code."""
    version, changelog, citation = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("version", "CHANGELOG.md", "CITATION.cff")
    )
    version = version.strip()
    told = disagreements(version, changelog, citation)
    if words and words[0] != f"v{version}":
        told.append(f"the tag is {words[0]}, version says v{version}")
    if told:
        print("\n".join(f"release: {line}" for line in told), file=sys.stderr)
        return 1
    print(next(section.text for section in sections(changelog) if section.name == version))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
