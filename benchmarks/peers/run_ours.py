"""Run our own method on a prepared case in a process of its own, as the other programs are.

``field.json`` tells how long it took from arrays in memory to both fields in memory.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from bids_nodereg.imaging.transforms import write_displacement_nifti
from peers.case_list import choose
from peers.ours import fields_of, read_ours, settings_of
from peers.prepare import CaseFiles


def main() -> None:
    """Write ``field.nii`` and ``inverse.nii`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("method")
    parser.add_argument("folder", type=Path, help="of the prepared case")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    (case,) = choose([arguments.case])
    inputs = read_ours(CaseFiles(case, arguments.folder))
    began = time.perf_counter(), time.process_time()
    forward, inverse = fields_of(inputs, settings_of(arguments.method), arguments.threads, arguments.device)
    told = {"fields_wall_s": time.perf_counter() - began[0], "fields_cpu_s": time.process_time() - began[1]}
    (arguments.out / "field.json").write_text(json.dumps(told) + "\n")
    write_displacement_nifti(arguments.out / "field.nii", forward)
    write_displacement_nifti(arguments.out / "inverse.nii", inverse)


if __name__ == "__main__":
    main()
