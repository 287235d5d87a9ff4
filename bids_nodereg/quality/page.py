"""What all pages share: the template engine, files of this package, and a policy that forbids the rest."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Make a template engine that escapes whatever it is given."""
    return Environment(
        loader=PackageLoader("bids_nodereg.quality", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """Load a file that goes into a page as it is."""
    return resources.files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")


def policy(style: str, *scripts: str, also: str = "") -> str:
    """Allow pictures inside the page, its own style and its own scripts, and nothing else.

    Both are allowed by the digest of their text (Content Security Policy level 3), so neither an attribute
    nor an element that got into the page can style or run anything.

    Parameters
    ----------
    style
        Text of the style element.
    scripts
        Text of each script element that may run.
    also
        Further rules, such as ``worker-src blob:``.
    """
    rules = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {' '.join(map(_digest, scripts))}; base-uri 'none'; form-action 'none'"
    )
    return f"{rules}; {also}" if also else rules


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
