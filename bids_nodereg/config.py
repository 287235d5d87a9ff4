"""What a run is asked to do: frozen records, presets, and TOML in and out.

`Settings` decides the numbers and is what the digest of a finished pair is made from; `RunConfig`
adds what to work on, where, and with which resources. A default stands in one place: in the
record that owns it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping  # noqa: TC003 - cattrs reads the annotations at run time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from bids_nodereg.bids.spaces import OutputSpace  # noqa: TC001 - cattrs reads the annotations at run time
from bids_nodereg.errors import UsageError
from bids_nodereg.registration.settings import (
    AffineSettings,
    CaptureSettings,
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
    SolverSettings,
    VelocitySettings,
)
from bids_nodereg.rules import affine_rules, in_ranges, registration_rules

Transform = Literal["rigid", "affine", "deformable"]
BrainMaskMethod = Literal["auto", "template", "deepbet", "synthstrip", "hd-bet", "none"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the numbers of a registration."""

    transform: Transform = "deformable"
    """How far to go; the rigid start is always there."""
    working_resolution_mm: float = 1.0
    """Voxel size of the isotropic working grid; coarser where the fixed image has no edge this fine."""
    margin_mm: float = 10.0
    """Least room around the fixed mask on the working grid. The displacement falls to zero in the outer
    eight voxels, so on a coarse grid the room is those eight voxels."""
    interpolation: Literal["linear", "cubic"] = "linear"
    """Of the warped image; the transforms do not depend on it."""
    lesion_masks: bool = True
    """Leave out of the comparison what lies in a lesion mask, where there is one."""
    brain_mask: BrainMaskMethod = "auto"
    """How a brain is found where no mask is given and the image shows more than the brain: `auto` takes
    deepbet where it is installed, else the head template; `none` takes the head."""
    bias_correction: Literal["auto", "n4", "none"] = "auto"
    """Whether a bias field is divided out of what is compared: `auto` does it unless the image is
    skull-stripped or a template."""
    write_velocity: bool = False
    """Write the velocity field too, for statistics in the log domain; it decides no number."""
    affine: AffineSettings = field(default_factory=AffineSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)


@dataclass(frozen=True)
class Selection:
    """Which images are worked on."""

    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    pairs: tuple[str, ...] = ("within-session",)
    output_spaces: tuple[OutputSpace, ...] = ()
    pairs_file: Path | None = None
    fixed_suffix: str | None = None
    moving_suffix: tuple[str, ...] = ()
    all_pairs: bool = False
    apply_to: tuple[str, ...] = ()
    """More files of the moving images to be carried along, as ``desc-preproc_T2w``."""
    carry: bool = True
    """Carry brain masks and tissue maps of the derivatives without being asked."""
    pair_within: Literal["session", "subject"] = "subject"
    """Whether a session without a reference borrows that of the participant's nearest session."""
    longitudinal_base: str | None = None
    """Session that the others go onto; None for the first in time."""
    shard: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Resources:
    """What the run may use."""

    device: str = "auto"
    omp_nthreads: int | None = None
    """Most threads of each pair; None to share all cores that this process may use."""
    n_procs: int = 1
    """Pairs that are registered at a time, each in a process of its own where it is more than one."""
    isolate: bool = False
    """Register in a process of its own also where it is one pair at a time."""
    mem_mb: int | None = None
    """Most memory of the run in MB (10^6 bytes); None for what is free."""
    n_cpus: int | None = None
    """Most CPU threads of all pairs that are done at a time."""
    gpus: int | Literal["all"] | None = None
    """GPUs that have processes of their own; None to take the one that `device` names."""
    time_limit_s: int | None = None
    """Seconds from the start of the program in which pairs may be under way."""
    executor: Literal["local", "dask"] = "local"
    """Who does the pairs: this program's own processes, or workers of dask.distributed."""
    dask_scheduler: str | None = None
    """Address or scheduler file of a dask cluster; None for `n_procs` dask workers of this machine."""
    dask_workers: int | None = None
    """How many of these were asked for as such; None where it is not said. Else one would mean all GPUs."""

    @property
    def threads(self) -> int | None:
        """CPU threads that a pair is given: its share of all, and no more than one may have.

        None where nothing is said.
        """
        share = None if self.n_cpus is None else max(1, self.n_cpus // self.n_procs)
        return min((number for number in (self.omp_nthreads, share) if number is not None), default=None)


@dataclass(frozen=True)
class RunConfig:
    """One run of the program."""

    bids_dir: Path
    output_dir: Path
    analysis_level: Literal["participant", "group"]
    preset: str = "default"
    settings: Settings = field(default_factory=Settings)
    selection: Selection = field(default_factory=Selection)
    resources: Resources = field(default_factory=Resources)
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    bids_database_dir: Path | None = None
    work_dir: Path | None = None
    """Where temporary files go; None for the place that the system names (``TMPDIR``)."""
    fetch_templates: bool = False
    """Whether a server may be asked for templates that are not here."""
    skip_bids_validation: bool = False
    force: bool = False
    fail_fast: bool = False
    fail_on_qc: Literal["fail", "check"] | None = None
    """Verdict from which on a pair makes the run end with an error."""
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    interactive_report: bool = False
    """Whether each pair gets an interactive page too."""
    json_output: bool = False
    verbosity: int = 0


_DEFAULT = RegistrationSettings()

# The paper (Rodriguez-Sanz & Hernandez 2025) names the solver, its h, the learning rate, the
# iterations, MIND and the three penalties. The network, the lattice, the smoothing and the weights
# follow NODEO (Wu et al. 2022), its ancestor; docs/paper-preset.md says which is which.
PAPER = RegistrationSettings(
    levels=(Level(shrink=1, iterations=300),),
    capture=CaptureSettings(reach=0),
    symmetric=False,
    descriptor=DescriptorSettings(
        name="mind",
        offset=1,
        patch_sigma=0.5,
        search_radius=0,
        lmi_weight=0.0,
        fill_outside=False,
        recompute=True,
    ),
    velocity=VelocitySettings(name="nodeo", lattice=4, smoothing_sigma=1.08, bottleneck=16, time_parts=1),
    solver=SolverSettings(scheme="euler", steps=200, gradient="adjoint"),
    weights=LossWeights(
        folding=2.5,
        folding_epsilon=0.5,
        gradient=0.05,
        gradient_of="displacement",
        magnitude=5e-5,
        spatial="uniform",
    ),
    learning_rate=5e-3,
    convergence_tolerance=0.0,
)

PRESETS: Mapping[str, Settings] = {
    "default": Settings(),
    "fast": Settings(
        working_resolution_mm=2.0, registration=replace(_DEFAULT, levels=(Level(2, 60), Level(1, 40)))
    ),
    "paper": Settings(registration=PAPER),
}


@lru_cache(maxsize=16)
def settings_digest(settings: Settings) -> str:
    """Short hexadecimal digest of everything that decides the numbers.

    Which files are written does not: those that are lacking are seen to be. It is asked for each pair, and
    would take most of the time that a pair takes which is done already.
    """
    content = json.dumps(as_plain(replace(settings, write_velocity=False)), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def as_plain(record: object) -> dict[str, Any]:
    """Turn a record into dictionaries, lists and scalars; paths become strings, None is left out."""
    from cattrs.preconf.json import make_converter

    converter = make_converter()
    converter.register_unstructure_hook(Path, str)
    plain: dict[str, Any] = _without_none(converter.unstructure(record))
    return plain


def overlay(settings: Settings, changes: Mapping[str, Any], origin: str) -> Settings:
    """Replace single values of the settings by those of a nested mapping.

    Parameters
    ----------
    settings
        What holds where ``changes`` says nothing.
    changes
        The same tree of names as the record; tables merge, everything else replaces.
    origin
        Where the changes come from, for the message.

    Raises
    ------
    UsageError
        If a name does not exist or a value has the wrong type.
    """
    from cattrs import transform_error
    from cattrs.errors import ClassValidationError
    from cattrs.preconf.json import make_converter

    converter = make_converter(forbid_extra_keys=True)
    for kind in (bool, int, float):
        converter.register_structure_hook(kind, _exactly)
    merged = _merged(as_plain(settings), changes)
    try:
        return converter.structure(merged, Settings)
    except (ClassValidationError, ValueError) as error:
        reasons = "; ".join(transform_error(error, path="settings"))
        msg = f"{origin}: {reasons}. Compare with the config.toml that each run leaves in logs/."
        raise UsageError(msg) from error


def read_settings(path: Path, settings: Settings) -> Settings:
    """Overlay the table ``[settings]`` of a TOML file, such as the ``config.toml`` a run leaves behind.

    Raises
    ------
    UsageError
        If the file cannot be read, is not TOML, or has an unknown name or a wrong value.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"--config {path}: cannot be read ({error.strerror})."
        raise UsageError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"--config {path}: is not a TOML file ({error})."
        raise UsageError(msg) from error
    changes = content.get("settings", {})
    if not isinstance(changes, dict) or not changes:
        msg = f"--config {path}: has no table [settings]. Compare with the config.toml of a run in logs/."
        raise UsageError(msg)
    return overlay(settings, changes, f"--config {path}")


def as_toml(config: RunConfig, **extra: str) -> str:
    """The whole configuration as TOML text; ``extra`` (version, run id) goes to the top."""
    import tomli_w

    return tomli_w.dumps({**extra, **as_plain(config)})


def check_settings(settings: Settings) -> None:
    """Refuse values that have the right type and make no sense.

    Raises
    ------
    UsageError
        If a length, a count or a weight is out of its range; all such are named.
    """
    rules = {
        **in_ranges(
            {
                "working_resolution_mm": (settings.working_resolution_mm, 0.001, 100),
                "margin_mm": (settings.margin_mm, 0, 1000),
            }
        ),
        **affine_rules(settings.affine),
        **registration_rules(settings.registration),
    }
    wrong = [rule for rule, holds in rules.items() if not holds]
    if wrong:
        msg = f"settings: this does not hold: {'; '.join(wrong)}. Check the options and --config."
        raise UsageError(msg)


def _exactly(value: object, kind: type) -> object:
    """Take a value of the type itself, and a whole number where any number will do; convert nothing else."""
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    msg = f"{value!r} is no {kind.__name__}"
    raise ValueError(msg)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Overlay nested tables; a value that is no table replaces the one below it."""
    merged = dict(base)
    for name, value in changes.items():
        below = merged.get(name)
        both_tables = isinstance(below, dict) and isinstance(value, dict)
        merged[name] = _merged(below, value) if both_tables else value  # type: ignore[arg-type]
    return merged


def _without_none(value: Any) -> Any:
    """TOML has no null: a value that is None is left out."""
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
