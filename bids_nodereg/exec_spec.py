"""The command line as a Boutiques descriptor, so that other programs can call this one.

``--bids-exec-spec`` prints it, as the draft of the BIDS execution specification (BEP027) wants. All of
it is made from the parser and from the errors: an option that is added stands in it. The format is
schema 0.5 of Boutiques (Glatard et al. 2018, doi:10.1093/gigascience/giy016).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg import __version__
from bids_nodereg.arguments import folder, positive
from bids_nodereg.errors import NodeRegError

if TYPE_CHECKING:
    from collections.abc import Iterator

Descriptor = dict[str, Any]

PROGRAM = "bids-nodereg"
SPECIFICATION = "2.0"  # of BIDS Apps, as the draft numbers itself; two keys, as its text and its table differ
# what the specification calls the arguments that all BIDS Apps have
_RESERVED = {
    "bids_dir": "InputDataset",
    "output_dir": "OutputLocation",
    "participant_label": "SubjectLabel",
    "help": "Help",
    "version": "ToolVersion",
}
_WHOLE_NUMBERS = (int, positive)
SOME_FAILED = (
    "Some pairs failed, each for the reason that the log says, or have a verdict that --fail-on-qc refuses. "
    "The others are done. Also a fault of the program."
)


def descriptor(parser: argparse.ArgumentParser) -> Descriptor:
    """Describe a command line.

    Parameters
    ----------
    parser
        Its parser; positional arguments come first on the command line, in their order.

    Returns
    -------
    dict
        What ``bosh validate`` accepts, ready for JSON. Defaults are left out, because Boutiques would
        pass them on, and then they would override the preset and the configuration file.
    """
    inputs = [entry for action in parser._actions for entry in _inputs(action, parser)]
    keys = " ".join(entry["value-key"] for entry in inputs)
    return {
        "name": parser.prog,
        "description": parser.description,
        "tool-version": __version__,
        "schema-version": "0.5",
        "url": "https://github.com/nodereg/nodereg",
        "command-line": f"{PROGRAM} {keys}",
        "inputs": inputs,
        "output-files": [
            {
                "id": "OutputDataset",
                "name": "BIDS-Derivatives data set",
                "description": "Registered images, transforms both ways, quality measures and reports",
                "path-template": "[OUTPUT_DIR]",
                "optional": False,
            }
        ],
        "error-codes": _error_codes(),
        "tags": {"domain": ["neuroinformatics"], "bids": ["bids-app"]},
        "custom": {"BIDSAppSpecVersion": SPECIFICATION, "BIDSApplicationVersion": SPECIFICATION},
    }


def _inputs(action: argparse.Action, parser: argparse.ArgumentParser) -> Iterator[Descriptor]:
    """One input; two of an option that has a ``--no-`` twin; none of the option that prints all this."""
    if action.dest == "bids_exec_spec":
        return
    if isinstance(action, argparse.BooleanOptionalAction):
        yes, no = (
            next(name for name in action.option_strings if name.startswith("--no-") is off)
            for off in (False, True)
        )
        names = {option: _camel_case(option[2:]) for option in (yes, no)}
        for option, other in ((yes, no), (no, yes)):
            entry = _common(action, parser, option[2:])
            if option == no:
                entry["description"] = f"the opposite of {yes}, which says: {entry['description']}"
            yield {
                **entry,
                "type": "Flag",
                "command-line-flag": option,
                "disables-inputs": [names[other]],
            }
        return
    name = _long_name(action)[2:] if action.option_strings else action.dest
    entry = {**_common(action, parser, name), **_type(action)}
    if action.option_strings:
        entry["command-line-flag"] = _long_name(action)
    if action.nargs == "+" or action.dest == "bids_dir":
        entry |= {"list": True, "min-list-entries": 1}
    if action.dest == "bids_dir":
        entry["max-list-entries"] = 1  # a list by the specification; one data set by BIDS Apps 1.0
    yield entry


def _common(action: argparse.Action, parser: argparse.ArgumentParser, name: str) -> Descriptor:
    words = name.replace("-", "_")
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return {
        "id": _RESERVED.get(words) or _camel_case(words),
        "name": words.replace("_", " ").capitalize(),
        "description": text,
        "value-key": f"[{words.upper()}]",
        "optional": bool(action.option_strings),
    }


def _type(action: argparse.Action) -> Descriptor:
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.choices:
        return {"type": "String", "value-choices": list(action.choices)}
    if action.type in {Path, folder}:
        return {"type": "File", "uses-absolute-path": True}
    if action.type is float or action.type in _WHOLE_NUMBERS:
        return {"type": "Number", "integer": action.type is not float}
    return {"type": "String"}


def _long_name(action: argparse.Action) -> str:
    return next((name for name in action.option_strings if name.startswith("--")), action.option_strings[0])


def _camel_case(text: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[_-]", text))


def _error_codes() -> list[Descriptor]:
    """Every exit code but 0, with the first line of what its error means; 1 has many meanings."""
    meanings = {kind.exit_code: str(kind.__doc__).splitlines()[0] for kind in NodeRegError.__subclasses__()}
    meanings[NodeRegError.exit_code] = SOME_FAILED
    return [{"code": code, "description": text} for code, text in sorted(meanings.items())]
