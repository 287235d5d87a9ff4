"""A data set of ten thousand tiny participants, and the results of most of them copied from a few.

Files that say nothing of whose they are, are hard links: ten thousand names with little on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability import tiny

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEXTS = (".json", ".log", ".toml")
"""Endings of files whose text is made anew."""
SIDECAR = "_from-T2w_to-T1w_mode-image_xfm.json"


def label(number: int) -> str:
    """Label of a participant; all have the same length."""
    return f"{number:05d}"


def model_of(number: int, shards: int) -> int:
    """Participant that one is a copy of: the last before it that is in the first shard."""
    return number - number % shards


def make_raw(folder: Path, participants: int, shards: int) -> Path:
    """Make images of the participants of the first shard, and link those of the others to them.

    Returns
    -------
    Path
        Root of the data set, each participant with T1w and T2w of 24 x 26 x 22 voxels.
    """
    raw = tiny.make(folder, [label(number) for number in range(0, participants, shards)])
    for number in range(participants):
        model = model_of(number, shards)
        if model != number:
            _copy(raw / f"sub-{label(model)}", raw / f"sub-{label(number)}", label(model), label(number))
    return raw


def copy_results(out: Path, participants: int, shards: int) -> None:
    """Give every participant without results those of its model, and every shard a folder of logs."""
    for number in range(participants):
        model = model_of(number, shards)
        if model == number:
            continue
        old, new = label(model), label(number)
        _copy(out / f"sub-{old}", out / f"sub-{new}", old, new)
        os.link(out / f"sub-{old}.html", out / f"sub-{new}.html")
        _record_again(out, new)
    (logs,) = (path for path in (out / "logs").iterdir() if path.is_dir())
    for shard in range(1, shards):
        _copy_logs(logs, shard, [label(number) for number in range(0, participants, shards)])


def _copy(top: Path, new_top: Path, old: str, new: str) -> None:
    """Copy a participant's folder; texts name the new one, all other files are links.

    The sidecar that stands for all others is written last, as in a run.
    """
    for folder, _, names in os.walk(top):
        there = new_top / Path(folder).relative_to(top)
        there.mkdir()
        for name in sorted(names, key=lambda name: name.endswith(SIDECAR)):
            source, final = Path(folder, name), there / name.replace(old, new)
            if source.suffix in TEXTS:
                final.write_text(source.read_text().replace(f"sub-{old}", f"sub-{new}"))
                shutil.copystat(source, final)  # a page is younger than its sections
            else:
                os.link(source, final)


def _record_again(out: Path, new: str) -> None:
    """Bring the digests of the texts in the record of a pair up to date."""
    path = out / f"sub-{new}" / "anat" / f"sub-{new}{SIDECAR}"
    sidecar = json.loads(path.read_text())
    for name, known in sidecar["OutputFiles"].items():
        if name.endswith(TEXTS):
            known["SHA256"] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(sidecar, indent=2) + "\n")


def _copy_logs(logs: Path, shard: int, models: Sequence[str]) -> None:
    """Give a shard the log folder of the first one, with its own participants."""
    there = logs.with_name(f"{logs.name[:-12]}{shard:012d}")
    there.mkdir()
    for old in logs.iterdir():
        name, text = old.name, old.read_text()
        model = next((each for each in models if f"sub-{each}" in name), None)
        if model is not None:
            new = label(int(model) + shard)
            name, text = name.replace(model, new), text.replace(f"sub-{model}", f"sub-{new}")
        (there / name).write_text(text)


def make_names(root: Path, participants: int, suffixes: Iterable[str]) -> Path:
    """Make a data set of empty images without sidecars, to be asked and not read; gives its root."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "names", "BIDSVersion": "1.10.0"}')
    for number in range(participants):
        stem = f"sub-{number:06d}"
        folder = root / stem / "anat"
        folder.mkdir(parents=True)
        for suffix in suffixes:
            os.close(os.open(folder / f"{stem}_{suffix}.nii.gz", os.O_CREAT | os.O_WRONLY, 0o644))
    return root


def copy_records(record: Path, out: Path, count: int) -> None:
    """Write the quality file of a pair under the names of many, for the group level alone."""
    text, old = record.read_text(), record.name.split("_")[0]
    for number in range(count):
        new = f"sub-{number:06d}"
        folder = out / new / "anat"
        folder.mkdir(parents=True)
        (folder / record.name.replace(old, new)).write_text(text.replace(old, new))
