"""Run our own method on a prepared case in a process of its own, as the other programs are."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_nodereg.imaging.transforms import write_displacement_nifti
from peers.case_list import choose
from peers.ours import register_ours
from peers.prepare import CaseFiles


def main() -> None:
    """Write ``field.nii`` and ``inverse.nii`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("method")
    parser.add_argument("folder", type=Path, help="of the prepared case")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    (case,) = choose([arguments.case])
    forward, inverse = register_ours(CaseFiles(case, arguments.folder), arguments.method, arguments.threads)
    write_displacement_nifti(arguments.out / "field.nii", forward)
    write_displacement_nifti(arguments.out / "inverse.nii", inverse)


if __name__ == "__main__":
    main()
