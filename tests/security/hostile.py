"""Texts that try to be more than text, and records full of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

CANARY = "document.title='PWNED'"
TEXTS = {
    "a script element": f"<script>{CANARY}</script>",
    "an image with a handler": f'<img src="x" onerror="{CANARY}">',
    "the end of an attribute": f'" onmouseover="{CANARY}" autofocus onfocus="{CANARY}" x="',
    "the end of an attribute in single quotes": f"' onmouseover='{CANARY}' x='",
    "the end of a style": f"</style><script>{CANARY}</script><style>body{{background:url(//evil.example/)}}",
    "the end of a title": f"</title><script>{CANARY}</script>",
    "the end of a script": f"</script><script>{CANARY}</script><!--",
    "the end of character data": f"]]><script xmlns='http://www.w3.org/1999/xhtml'>{CANARY}</script>",
    "an SVG with a handler": f'<svg onload="{CANARY}"><animate onbegin="{CANARY}" attributeName=x>',
    "a javascript address": f"javascript:{CANARY}",
    "a frame": '<iframe srcdoc="&lt;script&gt;parent.document.title=1&lt;/script&gt;"></iframe>',
    "another base": '<base href="//evil.example/">',
    "a refresh": '<meta http-equiv="refresh" content="0;url=//evil.example/">',
    "a template": "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "mathematics of a plotting library": r"$\frac{1}{$ \input{/etc/passwd}",
    "half a character": "\ud800\udcff",
    "control characters": "\x00\x1b]0;title\x07\x9b2J\r\n\t\u2028\u202e",
}
ALL = " ".join(TEXTS.values())


def poisoned(record: Any, text: str, *, but: frozenset[str] = frozenset()) -> Any:
    """Put a text behind every text of a record, names of fields in ``but`` left as they are."""
    if isinstance(record, str):
        return record + text
    if isinstance(record, tuple):
        return tuple(poisoned(each, text, but=but) for each in record)
    if isinstance(record, dict):
        return {key: poisoned(value, text, but=but) for key, value in record.items()}
    if is_dataclass(record) and not isinstance(record, type):
        names = [field.name for field in fields(record) if field.name not in but]
        return replace(record, **{name: poisoned(getattr(record, name), text, but=but) for name in names})
    return record
