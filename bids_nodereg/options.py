"""Every option of the command line, with its words; nothing that takes long to import."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Literal, get_args

from bids_nodereg import __version__
from bids_nodereg.arguments import OneLineParser, flag, folder, positive
from bids_nodereg.bids.spaces import TO_TEMPLATE
from bids_nodereg.config import PRESETS, BrainMaskMethod
from bids_nodereg.durations import seconds_of
from bids_nodereg.exec_spec import descriptor
from bids_nodereg.registration.settings import SimilarityName
from bids_nodereg.sharding import shard

RULES = ("within-session", "longitudinal", TO_TEMPLATE)


class _PrintSpecification(argparse.Action):
    """Print the Boutiques descriptor of the command line and end, as ``--help`` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(json.dumps(descriptor(parser), indent=2) + "\n")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """All options; a flag is spelled with hyphens or underscores alike."""
    parser = OneLineParser(
        prog="bids-nodereg",
        description="Register the anatomical images of a BIDS data set with one another: "
        "diffeomorphic, across contrasts, with transforms both ways, as BIDS-Derivatives.",
        epilog="To score given transforms: bids-nodereg evaluate --help. To apply them to any files: "
        "bids-nodereg apply --help. For a Slurm array: bids-nodereg sbatch --help. To see it at work: "
        "bids-nodereg demo OUTPUT_DIR. Documentation: README.md. "
        "Exit codes: 0 done, 1 some pair failed, 16 invalid BIDS, "
        "18 nothing selected, 64 usage, 65 data, 66 input missing, 73 output not writable, 75 try again.",
    )
    parser.add_argument(
        "bids_dir", type=folder, metavar="BIDS_DIR", help="the BIDS data set; never written to"
    )
    parser.add_argument("output_dir", type=folder, metavar="OUTPUT_DIR", help="where the derivatives go")
    parser.add_argument(
        "analysis_level", choices=("participant", "group"), help="register; or tabulate what was registered"
    )
    parser.add_argument("--version", action="version", version=f"nodereg {__version__}")
    flag(
        parser,
        "--bids-exec-spec",
        action=_PrintSpecification,
        nargs=0,
        help="print the Boutiques descriptor of this command line (JSON) and exit",
    )
    _add_selection(parser)
    _add_method(parser)
    _add_running(parser)
    _add_cluster(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which images")
    flag(
        group,
        "--participant-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="only these participants, with or without sub- (default: all); or a file with one label a line",
    )
    flag(
        group,
        "--session-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="only these sessions, with or without ses- (default: all); nothing is paired with an image of "
        "another session then; or a file with one label a line",
    )
    flag(
        group,
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON of pybids filters by contrast (t1w, t2w, flair, ...), as fMRIPrep reads it",
    )
    flag(
        group,
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="pybids database of the data set; made there when missing",
    )
    flag(
        group,
        "--skip-bids-validation",
        "--skip-bids-validator",
        action="store_true",
        help="do not run the BIDS validator (it runs where it is installed, for all participants together)",
    )
    flag(
        group,
        "--derivatives",
        "-d",
        nargs="+",
        type=_named_path,
        default=[],
        metavar="NAME=PATH",
        help="derivative data sets with brain masks (desc-brain_mask), lesion masks (label-lesion_mask) "
        "and label maps (dseg)",
    )
    flag(
        group,
        "--pairs",
        nargs="+",
        choices=RULES,
        help="pair rules: other contrasts onto the session's reference; later sessions onto the first; all "
        "to the templates of --output-spaces (default: within-session, and to-template with --output-spaces)",
    )
    flag(
        group,
        "--output-spaces",
        nargs="+",
        default=[],
        metavar="SPACE",
        help="templates for to-template: SPACE[:cohort-X][:res-R]... of TemplateFlow, looked for in "
        "TEMPLATEFLOW_HOME, or NAME=FILE.nii.gz[,mask=FILE.nii.gz]",
    )
    flag(
        group,
        "--fetch-templates",
        action="store_true",
        help="let TemplateFlow download templates that are not here; without it no server is contacted",
    )
    flag(
        group,
        "--pairs-file",
        type=Path,
        metavar="FILE.tsv",
        help="explicit pairs instead of rules: columns fixed, moving, and optionally fixed_mask, "
        "moving_mask, fixed_dseg, moving_dseg, fixed_lesion, moving_lesion, stiffness; paths relative to "
        "BIDS_DIR or BIDS URIs",
    )
    flag(group, "--fixed-suffix", metavar="SUFFIX", help="only this contrast as the fixed image")
    flag(
        group,
        "--moving-suffix",
        nargs="+",
        default=[],
        metavar="SUFFIX",
        help="only these contrasts as the moving image",
    )
    flag(
        group,
        "--pair-within",
        choices=("session", "subject"),
        default="subject",
        help="subject (default): a session without a reference (T1w) takes that of the nearest session in "
        "time; session: nothing crosses a session but longitudinal pairs",
    )
    flag(
        group,
        "--longitudinal-base",
        type=_session,
        metavar="LABEL",
        help="session that the others go onto (default: the first in time)",
    )
    flag(group, "--all-pairs", action="store_true", help="every run and repetition, not the first only")
    flag(
        group,
        "--apply-to",
        nargs="+",
        default=[],
        metavar="NAME",
        help="carry these files of the moving image along, such as desc-preproc_T2w or label-lesion_mask "
        "(key-label[_key-label]_suffix; * in a label), from --derivatives and BIDS_DIR",
    )
    flag(
        group,
        "--no-carry",
        action="store_true",
        help="do not carry along the brain mask and tissue maps (label-{CSF,GM,WM}_probseg) of --derivatives",
    )
    flag(
        group,
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="the I-th of N parts of the participants; slurm:N takes I from the task of a Slurm array 1-N; "
        "slurm: the tasks that were submitted together share all",
    )


def _add_method(parser: argparse.ArgumentParser) -> None:
    text = "values named as default are those of the preset default; others have some of their own"
    group = parser.add_argument_group("method", text)
    flag(
        group,
        "--preset",
        choices=tuple(PRESETS),
        default="default",
        help="settings as a whole: default (1 mm; where nothing is said), fast (2 mm), paper (1 mm, "
        "after Rodriguez-Sanz & Hernandez 2025, slow)",
    )
    flag(
        group,
        "--config",
        "--config-file",
        type=Path,
        metavar="FILE.toml",
        help="table [settings] that changes single values, such as the config.toml of a run",
    )
    flag(
        group,
        "--transform",
        choices=("rigid", "affine", "deformable"),
        help="how far to go (default: deformable)",
    )
    flag(
        group,
        "--working-resolution",
        type=float,
        metavar="MM",
        help="voxel size of the working grid, if the fixed image has an edge that fine (default: 1)",
    )
    flag(group, "--interpolation", choices=("linear", "cubic"), help="of the warped image (default: linear)")
    flag(
        group,
        "--write-velocity",
        action="store_const",
        const=True,
        help="write the velocity field too, for statistics in the log domain",
    )
    flag(
        group,
        "--no-lesion-mask",
        action="store_const",
        const=False,
        dest="lesion_masks",
        help="compare the images in lesions too; usually what lies in a lesion mask is left out",
    )
    flag(
        group,
        "--brain-mask-method",
        dest="brain_mask",
        choices=get_args(BrainMaskMethod),
        help="where no mask is given and the image is not skull-stripped: auto takes deepbet where it is "
        "installed, else our head template; synthstrip and hd-bet call those programs; none: the head "
        "(default: auto)",
    )
    flag(
        group,
        "--no-brain-mask",
        action="store_const",
        const="none",
        dest="brain_mask",
        help="register whole heads: the same as --brain-mask-method none; given masks are still used",
    )
    flag(
        group,
        "--bias-correction",
        choices=("auto", "n4", "none"),
        help="N4 on what is compared (never on what is written): auto corrects what is not skull-stripped "
        "(default: auto)",
    )
    flag(
        group,
        "--descriptor",
        choices=get_args(SimilarityName),
        help="what is compared: structural descriptors, or intensities (lmi; and for images of one contrast "
        "lncc, mse) (default: mind-ssc)",
    )
    flag(
        group,
        "--symmetric",
        action=argparse.BooleanOptionalAction,
        help="compare both ways, so that swapping the images inverts the result (default: --symmetric)",
    )
    flag(
        group,
        "--capture-reach",
        type=int,
        metavar="N",
        help="search displacements of up to N voxels of a coarse lattice first; 0 (default): no search",
    )
    flag(
        group,
        "--velocity",
        choices=("decoder", "nodeo", "grid"),
        help="kind of velocity field (default: decoder)",
    )
    flag(
        group,
        "--time-parts",
        type=int,
        metavar="N",
        help="equal parts of the time with a field each (default: 1)",
    )
    flag(group, "--solver", choices=("euler", "heun", "rk4", "squaring"), help="ODE scheme (default: rk4)")
    flag(
        group,
        "--steps",
        type=int,
        metavar="N",
        help="steps over [0, 1]: h = 1/N (default: 1); or squarings (default: 7)",
    )
    flag(
        group,
        "--gradient-route",
        choices=("backprop", "checkpoint", "adjoint"),
        help="how the gradient comes through the flow (default: backprop)",
    )
    flag(
        group,
        "--iterations",
        nargs="+",
        type=int,
        metavar="N",
        help="most iterations of each level (default: 60 60 40)",
    )
    flag(
        group,
        "--learning-rate",
        type=float,
        metavar="X",
        help="of Adam, instead of the usual one of the velocity field",
    )
    flag(
        group,
        "--folding-epsilon",
        type=float,
        metavar="X",
        help="the folding barrier acts where a Jacobian determinant is below this (default: 0.1)",
    )
    flag(group, "--smoothness", type=float, metavar="X", help="weight of the gradient penalty (default: 0.2)")
    flag(
        group,
        "--stiffness",
        choices=("uniform", "confidence"),
        help="how the gradient penalty varies in space: confidence makes it weak where both images have "
        "structure (default: uniform)",
    )
    flag(group, "--seed", "--random-seed", type=int, metavar="N", help="of the initial weights (default: 0)")


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    flag(
        group,
        "--device",
        default="auto",
        metavar="{auto,cuda,cuda:N,cpu}",
        help="auto (default) takes the GPU when there is one, and says so when not",
    )
    flag(
        group,
        "--gpus",
        type=_gpus,
        metavar="N",
        help="N of the visible GPUs, or all, each with a process of its own, or with several that do a pair "
        "each (--n-procs, for all GPUs together)",
    )
    flag(
        group,
        "--mem-mb",
        type=positive,
        metavar="MB",
        help="most memory of the run in MB (usually all that is free, in the limits of the container or "
        "job); a pair that does not fit is done on a coarser working grid, which is said, or fails",
    )
    flag(
        group,
        "--omp-nthreads",
        "--nthreads",
        type=positive,
        metavar="N",
        help="CPU threads of each pair (default: its share)",
    )
    flag(
        group,
        "--n-procs",
        "--nprocs",
        type=positive,
        default=1,
        metavar="N",
        help="pairs at a time, each in a process of its own (default: 1); they share the CPU threads, and "
        "each needs memory of its own",
    )
    flag(
        group,
        "--n-cpus",
        type=positive,
        metavar="N",
        help="most CPU threads in all, for pairs to share (default: all)",
    )
    flag(
        group,
        "--isolate",
        action="store_true",
        help="register in a process of its own also with --n-procs 1: a crash of a library, or the "
        "kernel's memory killer, then costs one pair and not the run",
    )
    flag(
        group,
        "--time-limit",
        type=_time_limit,
        metavar="TIME",
        help="begin no pair that would probably not end in time, and end with exit code 75; counted from "
        "the start of the program; minutes, or [D-]H:MM:SS as Slurm writes it; slurm: to the end of the job",
    )
    flag(
        group,
        "--work-dir",
        "-w",
        type=Path,
        metavar="DIR",
        help="where temporary files go (usually TMPDIR, else /tmp); they are small and gone at the end",
    )
    flag(group, "--force", action="store_true", help="register again what is done")
    flag(group, "--fail-fast", "--stop-on-first-crash", action="store_true", help="stop at the first failure")
    flag(
        group,
        "--fail-on-qc",
        nargs="?",
        const="fail",
        choices=("fail", "check"),
        help="end with exit code 1 where the quality verdict of a pair is fail, or check and worse; the "
        "outputs stay",
    )
    flag(
        group,
        "--dry-run",
        nargs="?",
        const="table",
        choices=("table", "json"),
        help="print every candidate pair and why it was taken or left; write nothing",
    )
    flag(
        group,
        "--interactive-report",
        action="store_true",
        help="beside the report, a page of each pair to scroll through (NiiVue; needs the extra 'viewer')",
    )
    flag(group, "--reports-only", action="store_true", help="write the reports again")
    flag(group, "--boilerplate-only", action="store_true", help="write the methods text only")
    flag(group, "--notrack", action="store_true", help="accepted for habit: nodereg never phones home")
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    group.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on a cluster, with dask.distributed (docs/clusters-dask.md)")
    flag(
        group,
        "--executor",
        choices=("local", "dask"),
        help="who registers the pairs: this program (local, default), or the workers of a dask cluster",
    )
    flag(
        group,
        "--dask-scheduler",
        metavar="ADDRESS",
        help="address or scheduler file of a cluster that runs; without it dask workers are started on this "
        "machine, --n-procs or one for each GPU",
    )
    flag(
        group,
        "--dask-workers",
        type=positive,
        metavar="N",
        help="the same as --executor dask --n-procs N, and 1 is one GPU, not all",
    )


def _session(text: str) -> str:
    return text.strip().removeprefix("ses-")


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        msg = f"expected NAME=PATH, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, Path(path)


def _shard(text: str) -> tuple[int, int]:
    return shard(text, os.environ)


def _time_limit(text: str) -> int:
    """Seconds of a length of time, or to the end of this Slurm job."""
    if text != "slurm":
        return seconds_of(text)
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if not end.isdecimal():
        msg = (
            "slurm: SLURM_JOB_END_TIME is not set (Slurm sets it from version 23.02 on; a container has to "
            "be given it). Say how long the run may take"
        )
        raise argparse.ArgumentTypeError(msg)
    return max(int(end) - int(time.time()), 1)


def _gpus(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else positive(text)
