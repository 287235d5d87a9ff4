"""One self-contained HTML page for each subject.

The page holds its pictures, its style and its script; a content security policy forbids it to fetch
or run anything else. Everything that came from a data set is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from bids_nodereg.files import write_text
from bids_nodereg.quality.commands import reuse_commands
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.embed import data_uri, figure_path, fitting_scale
from bids_nodereg.quality.methods import by_settings, methods
from bids_nodereg.quality.page import asset, environment, policy
from bids_nodereg.quality.report_tables import label_rows, measure_groups, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_nodereg.quality.records import FailedPair, PairReport


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
    style, script = asset("report.css"), asset("report.js")
    folder = out_html.parent
    scale = fitting_scale(figure_path(folder, path) for pair in pairs for path in pair.figures.values())
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            subject=subject,
            pairs=[_pair_context(pair, folder, scale) for pair in pairs],
            failed=failed,
            methods=[methods(each) for each in by_settings(pair.facts for pair in pairs)],
            version=version,
            run=run,
            # Both are files of this package, so they are the only text that is not escaped.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            policy=policy(style, script),
        )
    )
    write_text(out_html, page)
    return out_html


def _pair_context(pair: PairReport, folder: Path, scale: float) -> dict[str, object]:
    """Gather what the template shows of one pair."""
    return {
        "pair": pair,
        "images": {name: data_uri(figure_path(folder, path), scale) for name, path in pair.figures.items()},
        "tiles": tiles(pair),
        "groups": measure_groups(pair.measures),
        "labels": label_rows(pair),
        "commands": reuse_commands(pair),
        "viewer": quote(pair.viewer, errors="replace"),
        "dictionary": DICTIONARY,
    }
