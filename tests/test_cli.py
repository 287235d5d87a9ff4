"""The command line: options, what they set, and how errors end: one line, a code, no traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from bids_nodereg import __version__
from bids_nodereg.bids.spaces import OutputSpace
from bids_nodereg.cli import _SHORTCUTS, SQUARINGS, main, parse
from bids_nodereg.config import PRESETS, RunConfig, Selection
from bids_nodereg.errors import UsageError
from bids_nodereg.options import build_parser
from bids_nodereg.quality.methods import SIMILARITIES
from bids_nodereg.registration.settings import SimilarityName
from tests.bids.make import make_dataset

TWO = ("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz", "sub-02_T2w.nii.gz")
PAIR = ("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
BASE = ["in", "out", "participant"]

# option, its words, and where the configuration holds what value
OPTIONS = [
    ("--participant-label", ["sub-01", "02"], "selection.participant_label", ("sub-01", "02")),
    ("--session-label", ["ses-a", "b"], "selection.session_label", ("ses-a", "b")),
    ("--bids-filter-file", ["f.json"], "selection.bids_filter_file", Path("f.json")),
    ("--bids-database-dir", ["db"], "bids_database_dir", Path("db")),
    ("--skip-bids-validation", [], "skip_bids_validation", True),
    ("--skip-bids-validator", [], "skip_bids_validation", True),
    ("--derivatives", ["a=/x", "b=y=z"], "derivatives", {"a": Path("/x"), "b": Path("y=z")}),
    ("-d", ["a=/x"], "derivatives", {"a": Path("/x")}),
    ("--pairs", ["longitudinal", "within-session"], "selection.pairs", ("longitudinal", "within-session")),
    ("--output-spaces", ["X:res-1"], "selection.output_spaces", (OutputSpace("X", None, ("1",)),)),
    ("--fetch-templates", [], "fetch_templates", True),
    ("--pairs-file", ["p.tsv"], "selection.pairs_file", Path("p.tsv")),
    ("--fixed-suffix", ["T2w"], "selection.fixed_suffix", "T2w"),
    ("--moving-suffix", ["FLAIR", "PDw"], "selection.moving_suffix", ("FLAIR", "PDw")),
    ("--all-pairs", [], "selection.all_pairs", True),
    ("--pair-within", ["session"], "selection.pair_within", "session"),
    ("--longitudinal-base", ["ses-2"], "selection.longitudinal_base", "2"),
    ("--apply-to", ["desc-x_T2w", "roi"], "selection.apply_to", ("desc-x_T2w", "roi")),
    ("--no-carry", [], "selection.carry", False),
    ("--shard", ["2/5"], "selection.shard", (2, 5)),
    ("--preset", ["paper"], "preset", "paper"),
    ("--transform", ["affine"], "settings.transform", "affine"),
    ("--working-resolution", ["1.5"], "settings.working_resolution_mm", 1.5),
    ("--interpolation", ["cubic"], "settings.interpolation", "cubic"),
    ("--descriptor", ["mind"], "settings.registration.descriptor.name", "mind"),
    ("--no-lesion-mask", [], "settings.lesion_masks", False),
    ("--brain-mask-method", ["template"], "settings.brain_mask", "template"),
    ("--no-brain-mask", [], "settings.brain_mask", "none"),
    ("--bias-correction", ["n4"], "settings.bias_correction", "n4"),
    ("--write-velocity", [], "settings.write_velocity", True),
    ("--capture-reach", ["7"], "settings.registration.capture.reach", 7),
    ("--time-parts", ["5"], "settings.registration.velocity.time_parts", 5),
    ("--stiffness", ["confidence"], "settings.registration.weights.spatial", "confidence"),
    ("--velocity", ["nodeo"], "settings.registration.velocity.name", "nodeo"),
    ("--solver", ["heun"], "settings.registration.solver.scheme", "heun"),
    ("--steps", ["9"], "settings.registration.solver.steps", 9),
    ("--gradient-route", ["adjoint"], "settings.registration.solver.gradient", "adjoint"),
    ("--learning-rate", ["0.5"], "settings.registration.learning_rate", 0.5),
    ("--folding-epsilon", ["0.25"], "settings.registration.weights.folding_epsilon", 0.25),
    ("--smoothness", ["0.75"], "settings.registration.weights.gradient", 0.75),
    ("--seed", ["17"], "settings.registration.seed", 17),
    ("--random-seed", ["17"], "settings.registration.seed", 17),
    ("--device", ["cuda:1"], "resources.device", "cuda:1"),
    ("--omp-nthreads", ["3"], "resources.omp_nthreads", 3),
    ("--nthreads", ["3"], "resources.omp_nthreads", 3),
    ("--n-procs", ["3"], "resources.n_procs", 3),
    ("--mem-mb", ["3000"], "resources.mem_mb", 3000),
    ("--nprocs", ["3"], "resources.n_procs", 3),
    ("--isolate", [], "resources.isolate", True),
    ("--n-cpus", ["3"], "resources.n_cpus", 3),
    ("--gpus", ["all"], "resources.gpus", "all"),
    ("--time-limit", ["1:30"], "resources.time_limit_s", 90),
    ("--work-dir", ["/w"], "work_dir", Path("/w")),
    ("-w", ["/w"], "work_dir", Path("/w")),
    ("--executor", ["dask"], "resources.executor", "dask"),
    ("--dask-scheduler", ["tcp://10.0.0.1:8786"], "resources.dask_scheduler", "tcp://10.0.0.1:8786"),
    ("--dask-workers", ["3"], "resources.n_procs", 3),
    ("--force", [], "force", True),
    ("--fail-fast", [], "fail_fast", True),
    ("--stop-on-first-crash", [], "fail_fast", True),
    ("--fail-on-qc", ["check"], "fail_on_qc", "check"),
    ("--dry-run", [], "dry_run", True),
    ("--dry-run", ["json"], "json_output", True),
    ("--interactive-report", [], "interactive_report", True),
    ("--reports-only", [], "reports_only", True),
    ("--boilerplate-only", [], "boilerplate_only", True),
    ("-v", [], "verbosity", 1),
    ("-vv", [], "verbosity", 2),
    ("--verbose", [], "verbosity", 1),
    ("-q", [], "verbosity", -1),
    ("--quiet", [], "verbosity", -1),
]
WITHOUT_VALUE = {"--help", "-h", "--version", "--notrack", "--config", "--config-file", "--iterations"}
WITHOUT_VALUE |= {"--bids-exec-spec"}  # see test_exec_spec.py
WITHOUT_VALUE |= {"--symmetric", "--no-symmetric"}  # which of them is the default is the preset's


def value_at(record: object, path: str) -> object:
    for name in path.split("."):
        record = getattr(record, name)
    return record


@pytest.mark.parametrize(("flag", "words", "path", "value"), OPTIONS)
def test_an_option_sets_its_value_in_both_spellings(flag, words, path, value):
    usual = value_at(parse(BASE), path)
    assert usual != value
    for spelling in {flag, flag[:2] + flag[2:].replace("-", "_")}:
        assert value_at(parse([*BASE, spelling, *words]), path) == value


def test_the_table_above_knows_every_option():
    spellings = {name for action in build_parser()._actions for name in action.option_strings}
    hyphened = {name for name in spellings if "_" not in name}
    assert hyphened == {flag for flag, *_ in OPTIONS if flag != "-vv"} | WITHOUT_VALUE


def test_every_similarity_can_be_asked_for():
    names = get_args(SimilarityName)
    assert set(names) == set(SIMILARITIES)  # each has its words in the methods text
    for name in names:
        assert parse([*BASE, "--descriptor", name]).settings.registration.descriptor.name == name


@pytest.mark.parametrize("preset", PRESETS)
def test_symmetric_is_the_presets_unless_it_is_said(preset):
    words = [*BASE, "--preset", preset]
    assert parse(words).settings == PRESETS[preset]
    for flag, value in (("--symmetric", True), ("--no-symmetric", False)):
        assert parse([*words, flag]).settings.registration.symmetric is value


def typed_defaults() -> list[list[str]]:
    """Each option with the value it has anyway; not those that are off or empty then."""
    typed = []
    for flag, words, path, _ in OPTIONS:
        usual = value_at(parse(BASE), path)
        if not words or usual in (None, (), {}, False) or flag == "--dask-workers":
            continue  # how many dask workers there are says that there are some
        value = "/".join(map(str, usual)) if flag == "--shard" else usual
        typed.append([flag, *(value if isinstance(value, tuple) else [str(value)])])
    return typed


@pytest.mark.parametrize("words", typed_defaults(), ids=" ".join)
def test_an_option_accepts_its_own_default(words):
    """What the configuration of a run shows can be typed again."""
    assert parse([*BASE, *words]) == parse(BASE)


def test_without_options_everything_is_default():
    config = parse(BASE)
    expected = RunConfig(Path("in").absolute(), Path("out").absolute(), "participant")
    assert config == expected
    assert config.selection == Selection()


@pytest.mark.parametrize(
    "words",
    [
        ["--executor", "local", "--dask-workers", "2"],
        ["--executor", "local", "--dask-scheduler", "s.json"],
        ["--dask-workers", "2", "--n-procs", "3"],
        ["--dask-workers", "2", "--gpus", "all"],
        ["--dask-scheduler", "s.json", "--dask-workers", "2"],
        ["--dask-scheduler", "s.json", "--n-procs", "2"],
        ["--dask-scheduler", "s.json", "--gpus", "all"],
        ["--executor", "dask", "--device", "cuda:1"],
    ],
    ids=" ".join,
)
def test_options_of_clusters_that_contradict_one_another_are_refused(words):
    with pytest.raises(UsageError, match=r"--(dask|gpus|device)"):
        parse([*BASE, *words])


def test_options_of_dask_imply_it():
    for words in (["--executor", "dask", "--n-procs", "3"], ["--dask-workers", "3"]):
        resources = parse([*BASE, *words]).resources
        assert (resources.executor, resources.n_procs) == ("dask", 3)
    assert parse([*BASE, "--dask-scheduler", "s.json"]).resources.executor == "dask"


def test_habits_of_other_programs_are_accepted():
    assert parse([*BASE, "--notrack"]) == parse(BASE)


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        (["--n-cpus", "8", "--omp-nthreads", "2"], 2),
        (["--omp-nthreads", "8", "--n-cpus", "2"], 2),
        (["--n-cpus", "8", "--n-procs", "3"], 2),
        (["--n-cpus", "2", "--n-procs", "3"], 1),
        (["--n-procs", "3", "--omp-nthreads", "5"], 5),
        (["--n-procs", "3"], None),
    ],
)
def test_a_pair_has_its_share_of_all_threads_and_no_more_than_one_may_have(words, threads):
    assert parse([*BASE, *words]).resources.threads == threads


def test_options_beat_the_file_and_the_file_beats_the_preset(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[settings]\nmargin_mm = 3.0\nworking_resolution_mm = 4.0\n")
    for flag in ("--config", "--config-file", "--config_file"):
        settings = parse([*BASE, "--preset", "fast", flag, str(path), "--working-resolution", "5"]).settings
        assert (settings.margin_mm, settings.working_resolution_mm) == (3.0, 5.0)
        assert settings.registration == PRESETS["fast"].registration


def test_iterations_are_those_of_the_levels():
    settings = parse([*BASE, "--preset", "fast", "--iterations", "7", "0"]).settings
    assert [level.iterations for level in settings.registration.levels] == [7, 0]
    shrinks = [level.shrink for level in PRESETS["fast"].registration.levels]
    assert [level.shrink for level in settings.registration.levels] == shrinks
    with pytest.raises(UsageError, match=r"--iterations: .* 3 level\(s\), got 2"):
        parse([*BASE, "--iterations", "7", "8"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--working-resolution", "0"], "working_resolution_mm"),
        (["--working-resolution", "nan"], "working_resolution_mm"),
        (["--steps", "0"], "solver.steps"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--iterations", "1", "-2", "3"], "iterations"),
        (["--smoothness", "-1"], "weights"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(words, named, capsys):
    assert main([*BASE, *words]) == 64
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in", "out"], "analysis_level"),
        (["in", "out", "session"], "invalid choice: 'session'"),
        ([*BASE, "--nonsense"], "--nonsense"),
        ([*BASE, "--dryrun"], "Did you mean --dry-run?"),
        ([*BASE, "--omp-nthreads", "0"], "1 or more"),
        ([*BASE, "--omp-nthreads", "many"], "a whole number of 1 or more, got 'many'"),
        ([*BASE, "--shard", "0/3"], "1 <= I <= N"),
        ([*BASE, "--shard", "4/3"], "1 <= I <= N"),
        ([*BASE, "--shard", "a"], "1 <= I <= N"),
        ([*BASE, "--shard", "slurm"], "not in an array task"),
        ([*BASE, "-d", "/path"], "NAME=PATH"),
        ([*BASE, "-d", "name="], "NAME=PATH"),
        ([*BASE, "--preset", "quick"], "quick"),
        ([*BASE, "--pairs", "all"], "all"),
        ([*BASE, "--dry-run", "xml"], "xml"),
        ([*BASE, "--participant-label"], "at least one"),
    ],
)
def test_malformed_arguments_end_with_64(words, told, capsys, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert main(words) == 64
    (error,) = capsys.readouterr().err.splitlines()
    assert told in error
    assert "See: bids-nodereg --help" in error


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"ID": "0", "MIN": "0", "MAX": "9"}, (1, 10)),
        ({"ID": "9", "MIN": "0", "MAX": "9"}, (10, 10)),
        ({"ID": "3", "MIN": "1", "MAX": "4", "STEP": "1"}, (3, 4)),
        ({"ID": "15", "MIN": "5", "MAX": "26", "STEP": "5"}, (3, 5)),
        ({"ID": "25", "MIN": "5", "MAX": "26", "STEP": "5"}, (5, 5)),
    ],
)
def test_a_slurm_array_is_a_shard(environment, part, monkeypatch):
    for key in ("ID", "MIN", "MAX", "STEP"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{key}", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{key}", value)
    assert parse([*BASE, "--shard", "slurm"]).selection.shard == part


def dry(capsys, *words: object) -> list[dict[str, str]]:
    """The pairs that a run would take."""
    assert main([*map(str, words), "--dry-run", "json"]) == 0
    return [row for row in json.loads(capsys.readouterr().out) if row["taken"]]


def test_shards_share_the_participants_out(tmp_path, capsys):
    names = [f"sub-{number:02}_{contrast}.nii.gz" for number in range(1, 6) for contrast in ("T1w", "T2w")]
    words = (make_images(tmp_path / "raw", *names), tmp_path / "out", "participant", "--shard")
    shares = [[row["moving"] for row in dry(capsys, *words, f"{part}/3")] for part in (1, 2, 3)]
    everything = [f"bids:raw:sub-{s:02}/anat/sub-{s:02}_T2w.nii.gz" for s in range(1, 6)]
    assert sorted(shares[0] + shares[1] + shares[2]) == everything
    assert sorted(map(len, shares)) == [1, 2, 2]


def make_images(root: Path, *names: str) -> Path:
    """A data set whose images have a byte in them: an empty file is told apart when pairs are made."""
    make_dataset(root, *names)
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"x")
    return root


@pytest.mark.parametrize("label", ["01", "sub-01", "a file"])
def test_a_participant_in_all_the_ways_to_say_it(label, tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *TWO)
    if label == "a file":
        (tmp_path / "list.txt").write_text("sub-01\n")
        label = str(tmp_path / "list.txt")
    rows = dry(capsys, raw, tmp_path / "out", "participant", "--participant_label", label)
    assert [row["moving"] for row in rows] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]


def test_a_filter_file_chooses_and_ignores_what_is_not_ours(tmp_path, capsys):
    names = ("sub-01_T1w.nii.gz", "sub-01_acq-a_T2w.nii.gz", "sub-01_acq-b_T2w.nii.gz")
    raw = make_images(tmp_path / "raw", *names)
    path = tmp_path / "filter.json"
    for chosen in "ab":
        path.write_text(json.dumps({"t2w": {"acquisition": chosen}, "bold": {"task": "rest"}}))
        rows = dry(capsys, raw, tmp_path / "out", "participant", "--bids-filter-file", path)
        assert [row["moving"] for row in rows] == [f"bids:raw:sub-01/anat/sub-01_acq-{chosen}_T2w.nii.gz"]


def test_a_dry_run_shows_both_kinds_and_writes_nothing(tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *TWO)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert main([str(raw), str(tmp_path / "out"), "participant", "--dry-run"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["taken", "rule", "fixed", "moving", "reason"]
    assert "2 pair(s) to register." in table
    assert "the session's reference" in table
    rows = dry(capsys, raw, tmp_path / "out", "participant")
    assert [row["fixed"] for row in rows] == [
        f"bids:raw:sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("01", "02")
    ]
    assert sorted(path for path in tmp_path.rglob("*")) == before


class Situation:
    """What is wrong, the words of the command after the two folders, the code, and what is told."""

    def __init__(self, code: int, told: str, *words: str, names: tuple[str, ...] = PAIR) -> None:
        self.code, self.told, self.words, self.names = code, told, words, names


SITUATIONS = {
    "a participant that is not there": Situation(18, "There are 1: 01", "--participant-label", "99"),
    "filters leave nothing": Situation(18, "--moving-suffix may be why", "--moving-suffix", "FLAIR"),
    "one contrast": Situation(66, "Contrasts found: T1w (1)", names=("sub-01_T1w.nii.gz",)),
    "no participant": Situation(66, "no sub-* folder", names=()),
    "no pairs file": Situation(66, "pairs file cannot be read", "--pairs-file", "nowhere.tsv"),
    "no filter file": Situation(66, "filter file cannot be read", "--bids-filter-file", "nowhere.json"),
    "no derivative": Situation(66, "the folder is not there", "-d", "a=nowhere"),
    "a derivative called raw": Situation(64, "not 'raw'", "-d", "raw=nowhere"),
    "no settings file": Situation(64, "--config nowhere.toml: cannot be read", "--config", "nowhere.toml"),
}


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("extra", [["--skip-bids-validation"], ["--dry-run"]], ids=["run", "dry run"])
def test_what_cannot_be_done_is_told_in_one_line(name, extra, tmp_path, capsys):
    case = SITUATIONS[name]
    raw = make_images(tmp_path / "raw", *case.names)
    code = main([str(raw), str(tmp_path / "out"), "participant", *case.words, *extra])
    error = capsys.readouterr().err
    assert code == case.code
    assert error.startswith("nodereg: error: ")
    assert error.count("\n") == 1
    assert case.told in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", [["--skip-bids-validation"], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("more", [[], ["--gpus", "99"]], ids=["", "without its GPUs"])
def test_a_part_without_participants_has_nothing_to_do(extra, more, tmp_path, capsys):
    """That is no failure of the task of an array, whatever it lacks: the others have everybody."""
    raw = make_images(tmp_path / "raw", *PAIR)
    assert main([str(raw), str(tmp_path / "out"), "participant", "--shard", "2/2", *extra, *more]) == 0
    assert "--shard 2/2: nothing to do, as there are 1 participant(s)." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def ending(capsys, *words: object) -> tuple[int, str]:
    """Code and last line of a run that ends with an error of its own."""
    code = main([str(word) for word in words])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    last = error.splitlines()[-1]
    assert last.startswith("nodereg: error: ")
    return code, last


@pytest.mark.parametrize("description", [None, "not json", "[]", '{"Name": "x"}'])
def test_what_is_no_bids_data_set_ends_with_16(description, tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *PAIR)
    path = raw / "dataset_description.json"
    path.unlink() if description is None else path.write_text(description)
    code, told = ending(capsys, raw, tmp_path / "out", "participant", "--skip-bids-validation")
    assert code == 16
    assert "dataset_description.json" in told


def test_the_validator_is_asked_about_a_whole_data_set_only(tmp_path, capsys):
    """Its error ends the run with 16; for some participants, a part, or when told to, it is not asked."""
    if not Path(sys.executable).with_name("bids-validator-deno").exists():
        pytest.skip("bids-validator-deno is not installed")
    raw = make_images(tmp_path / "raw", "sub-01_T1w.nii.gz")
    (raw / "sub-01" / "anat" / "nonsense.xyz").write_text("x")
    (raw / "README").write_text("A data set with a file that has no place in it.\n")
    code, told = ending(capsys, raw, tmp_path / "out", "participant")
    assert code == 16
    assert "NOT_INCLUDED" in told
    assert "--skip-bids-validation" in told
    assert ending(capsys, raw, tmp_path / "out", "participant", "--skip-bids-validation")[0] == 66
    assert ending(capsys, raw, tmp_path / "out", "participant", "--participant-label", "01")[0] == 66
    assert ending(capsys, raw, tmp_path / "out", "participant", "--shard", "1/2")[0] == 66


def test_a_missing_input_folder_ends_with_66(tmp_path, capsys):
    code, told = ending(capsys, tmp_path / "nowhere", tmp_path / "out", "participant", "--dry-run")
    assert code == 66
    assert "nowhere" in told


def make_output_a_file(out: Path) -> None:
    out.write_text("x")


def make_logs_a_file(out: Path) -> None:
    out.mkdir()
    (out / "logs").write_text("x")


def make_foreign(out: Path) -> None:
    out.mkdir()
    (out / "dataset_description.json").write_text('{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}')


@pytest.mark.parametrize("spoil", [make_output_a_file, make_logs_a_file, make_foreign])
def test_an_output_that_cannot_be_written_ends_with_73(spoil, tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *PAIR)
    spoil(tmp_path / "out")
    code, _ = ending(capsys, raw, tmp_path / "out", "participant", "--skip-bids-validation")
    assert code == 73


def test_an_output_folder_of_a_participant_that_cannot_be_made_ends_with_73(tmp_path, capsys):
    """Seen only when the pair is registered; the images are never read."""
    raw = make_images(tmp_path / "raw", *PAIR)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-01").write_text("a file where a folder should be")
    words = (raw, tmp_path / "out", "participant", "--skip-bids-validation", "--device", "cpu")
    assert main([str(word) for word in words]) == 73
    error = capsys.readouterr().err
    assert "fault of nodereg" not in error
    assert "sub-01_from-T2w_to-T1w failed: " in error
    assert "Failed: sub-01_from-T2w_to-T1w\n" in error


@pytest.mark.parametrize("place", ["raw", "raw/../raw", "raw/sub-01", "raw/sub-01/anat/out"])
def test_the_input_is_never_the_output(place, tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *PAIR)
    before = sorted(tmp_path.rglob("*"))
    code, told = ending(capsys, raw, tmp_path / place, "participant", "--skip-bids-validation")
    assert code == 64
    assert "OUTPUT_DIR" in told
    assert sorted(tmp_path.rglob("*")) == before


def test_derivatives_inside_the_input_are_fine(tmp_path):
    out = tmp_path / "raw" / "derivatives" / "nodereg"
    assert parse([str(tmp_path / "raw"), str(out), "participant"]).output_dir == out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("device", ["cuda", "cuda:7", "tpu", "meta"])
def test_a_device_that_is_not_there_ends_with_64(device, tmp_path, capsys):
    raw = make_images(tmp_path / "raw", *PAIR)
    words = (raw, tmp_path / "out", "participant", "--skip-bids-validation", "--device", device)
    code, told = ending(capsys, *words)
    assert code == 64
    assert f"--device {device}" in told
    assert "--device cpu" in told


def test_the_group_level_has_no_dry_run(tmp_path, capsys):
    code, told = ending(capsys, make_images(tmp_path / "raw", *PAIR), tmp_path / "out", "group", "--dry-run")
    assert code == 64
    assert "say participant" in told


def test_the_group_level_without_results_ends_with_66(tmp_path, capsys):
    code, told = ending(capsys, make_images(tmp_path / "raw", *PAIR), tmp_path / "out", "group")
    assert code == 66
    assert "participant level" in told


def test_ctrl_c_is_a_temporary_end(monkeypatch, capsys):
    def interrupted(config: RunConfig) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("bids_nodereg.cli._run", interrupted)
    assert main(BASE) == 75
    assert "run the same command again" in capsys.readouterr().err


def test_the_values_that_help_calls_usual_are():
    """Those of settings are the preset's; the others are the parser's."""
    usual = re.compile(r"\(default: ([^;)]+)|(\w+) \(default\)")
    told = {}
    for action in build_parser()._actions:
        path = _SHORTCUTS.get(action.dest)
        value = action.default if path is None else value_at(PRESETS["default"], ".".join(path))
        match = usual.search(action.help or "")
        if match is not None and isinstance(value, str | int | float):
            told[action.dest] = match[1] or match[2], f"{value:g}" if isinstance(value, float) else str(value)
    assert told.pop("symmetric") == ("--symmetric", "True")
    assert len(told) > 15
    assert [name for name, (said, value) in told.items() if said != value] == []
    iterations = (level.iterations for level in PRESETS["default"].registration.levels)
    assert f"(default: {' '.join(map(str, iterations))})" in build_parser().format_help()


def test_version_and_help(capsys):
    for flag, told in (("--version", f"nodereg {__version__}"), ("--help", "Exit codes: 0 done")):
        with pytest.raises(SystemExit) as caught:
            main([flag])
        assert caught.value.code == 0
        assert told in " ".join(capsys.readouterr().out.split())


def test_asking_is_quick_because_torch_is_not_imported(tmp_path):
    """In a process of its own: torch takes seconds to import and hundreds of megabytes."""
    raw = make_images(tmp_path / "raw", *PAIR)
    script = (
        "import sys\nfrom bids_nodereg.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "early = [n for n in ('torch', 'numba', 'bids', 'nibabel', 'matplotlib') if n in sys.modules]\n"
        "code = main([*sys.argv[1:], 'participant', '--dry-run'])\n"
        "late = [n for n in ('torch', 'numba', 'matplotlib', 'h5py') if n in sys.modules]\n"
        "print('RESULT', code, early, late)\n"
    )
    command = [sys.executable, "-c", script, str(raw), str(tmp_path / "out")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "RESULT 0 [] []"
    assert not (tmp_path / "out").exists()


def test_the_module_and_the_command_return_the_code(tmp_path):
    """As a user calls it: the code reaches the shell, and the error is one line without a traceback."""
    command = [
        sys.executable,
        "-m",
        "bids_nodereg",
        str(tmp_path),
        str(tmp_path / "out"),
        "participant",
        "--dry-run",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 16
    assert answer.stdout == ""
    assert answer.stderr.startswith("nodereg: error: ")
    assert answer.stderr.count("\n") == 1


def test_squaring_without_steps_takes_enough_of_them():
    solver = parse([*BASE, "--solver", "squaring"]).settings.registration.solver
    assert (solver.scheme, solver.steps) == ("squaring", SQUARINGS)


def test_a_scheduler_that_ends_the_run_is_answered_with_75(tmp_path):
    """SIGTERM in the middle of a pair: a sentence, the code for "again", and no half-written file."""
    raw = make_images(tmp_path / "raw", *PAIR)
    code = (
        "import os, signal, sys, bids_nodereg.cli as cli\n"
        "cli._run = lambda config: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(cli.entry_point())\n"
    )
    words = [sys.executable, "-c", code, str(raw), str(tmp_path / "out"), "participant"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 75
    assert ended.stderr == "nodereg: interrupted by SIGTERM; run the same command again to go on.\n"


@pytest.mark.parametrize("words", [["", "out", "participant"], ["in", "", "participant"]])
def test_an_empty_word_is_no_folder(words, capsys):
    """A variable of the shell that is not set must not stand for the folder one happens to be in."""
    assert main(words) == 64
    assert "a variable that is not set?" in capsys.readouterr().err
