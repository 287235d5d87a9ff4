"""One self-contained HTML page for each subject.

The page holds its pictures, its style and its script; a content security policy forbids it to fetch
or run anything else. Everything that came from a data set is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bids_nodereg.errors import MissingInputError
from bids_nodereg.files import write_text
from bids_nodereg.quality.commands import reuse_commands
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.methods import methods
from bids_nodereg.quality.report_tables import label_rows, measure_groups, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_nodereg.quality.records import FailedPair, MethodsFacts, PairReport

TYPES = {".webp": "image/webp", ".png": "image/png", ".svg": "image/svg+xml"}


def render_subject(
    subject: str,
    pairs: Sequence[PairReport],
    out_html: Path,
    *,
    version: str,
    failed: Sequence[FailedPair] = (),
    run: str = "",
) -> Path:
    """Write the report of one subject.

    Parameters
    ----------
    subject
        Label with ``sub-``.
    pairs
        Registered pairs, in the order shown; figure paths are relative to the folder of ``out_html``.
    out_html
        Final name; the page appears there only when whole.
    version
        Of the program that writes the page.
    failed
        Pairs that ended in an error.
    run
        Identifier and date of the run, in words.

    Returns
    -------
    Path
        ``out_html``.

    Raises
    ------
    MissingInputError
        If a figure that a pair names is not there.
    OutputError
        If the page cannot be written.
    """
    style, script = _asset("report.css"), _asset("report.js")
    environment = Environment(
        loader=PackageLoader("bids_nodereg.quality", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        subject=subject,
        pairs=[_pair_context(pair, out_html.parent) for pair in pairs],
        failed=failed,
        methods=[methods(each) for each in _by_settings(pairs)],
        version=version,
        run=run,
        # Both are files of this package, so they are the only text that is not escaped.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=_policy(script),
    )
    write_text(out_html, page)
    return out_html


def _by_settings(pairs: Sequence[PairReport]) -> list[MethodsFacts]:
    """What the pairs share, once for each set of settings, with the contrasts of all that share it."""
    groups: dict[MethodsFacts, list[MethodsFacts]] = {}
    for facts in (pair.facts for pair in pairs if pair.facts is not None):
        groups.setdefault(replace(facts, fixed_contrasts=(), moving_contrasts=()), []).append(facts)
    return [
        replace(
            shared,
            fixed_contrasts=tuple(sorted({name for facts in group for name in facts.fixed_contrasts})),
            moving_contrasts=tuple(sorted({name for facts in group for name in facts.moving_contrasts})),
        )
        for shared, group in groups.items()
    ]


def _pair_context(pair: PairReport, folder: Path) -> dict[str, object]:
    """Gather what the template shows of one pair."""
    return {
        "pair": pair,
        "images": {name: _data_uri(folder / path) for name, path in pair.figures.items()},
        "tiles": tiles(pair),
        "groups": measure_groups(pair.measures),
        "labels": label_rows(pair),
        "commands": reuse_commands(pair),
        "dictionary": DICTIONARY,
    }


def _policy(script: str) -> str:
    """Allow pictures inside the page, its own style and its own script, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _data_uri(path: Path) -> str:
    """Read a figure as a data URI."""
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = (
            f"{path}: figure cannot be read ({error.strerror}). The report needs every figure drawn; "
            "run the pair again with --force."
        )
        raise MissingInputError(msg) from error
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(content).decode()}"


def _asset(name: str) -> str:
    """Load a file that goes into the page as it is."""
    return resources.files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")
