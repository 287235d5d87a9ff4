"""Settings: presets, TOML in and out, and the digest that says whether a result is still the same."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from bids_nodereg.config import (
    PRESETS,
    RunConfig,
    Settings,
    as_plain,
    as_toml,
    check_settings,
    overlay,
    read_settings,
    settings_digest,
)
from bids_nodereg.errors import UsageError
from bids_nodereg.registration.settings import Level

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def leaves(record: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """Every single value in a tree of records, with its path."""
    if not is_dataclass(record):
        return [(path, record)]
    return [leaf for f in fields(record) for leaf in leaves(getattr(record, f.name), (*path, f.name))]


def other(value: object) -> object:
    """A different value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return [as_plain(value[0]) if is_dataclass(value[0]) else value[0] + 1]
    choices = {
        "deformable": "rigid",
        "linear": "cubic",
        "mind-ssc": "mind",
        "decoder": "grid",
        "rk4": "heun",
        "backprop": "adjoint",
        "velocity": "displacement",
        "uniform": "confidence",
        "auto": "none",
    }
    return choices[str(value)]


def nested(path: tuple[str, ...], value: object) -> dict[str, object]:
    return {path[0]: nested(path[1:], value) if path[1:] else value}


LEAVES = leaves(Settings())


@pytest.mark.parametrize(("path", "value"), LEAVES, ids=[".".join(path) for path, _ in LEAVES])
def test_every_value_can_be_set_and_counts(path, value):
    """No setting is lost on its way, and each one but the choice of files decides the digest."""
    changed = overlay(Settings(), nested(path, other(value)), "test")
    differing = [name for (name, old), (_, new) in zip(LEAVES, leaves(changed), strict=True) if old != new]
    assert differing == [path]
    assert (settings_digest(changed) == settings_digest(Settings())) == (path == ("write_velocity",))


@pytest.mark.parametrize("preset", PRESETS)
def test_toml_gives_back_what_was_written(preset, tmp_path):
    """The file of a run holds everything, so it decides whatever preset is beneath it."""
    settings = PRESETS[preset]
    config = RunConfig(Path("/in"), Path("/out"), "participant", preset, settings)
    text = as_toml(config, nodereg_version="1", run_id="r")
    assert tomllib.loads(text)["run_id"] == "r"
    path = tmp_path / "config.toml"
    path.write_text(text)
    for beneath in PRESETS.values():
        assert read_settings(path, beneath) == settings


def test_presets_differ_and_the_default_is_the_default():
    assert PRESETS["default"] == Settings()
    assert len({settings_digest(settings) for settings in PRESETS.values()}) == len(PRESETS)


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"].registration
    assert (paper.solver.scheme, 1 / paper.solver.steps, paper.solver.gradient) == ("euler", 0.005, "adjoint")
    assert (paper.learning_rate, paper.levels) == (5e-3, (Level(1, 300),))
    assert paper.descriptor.name == "mind"


def test_what_the_paper_does_not_have_is_off_in_its_preset():
    paper = PRESETS["paper"].registration
    assert (paper.symmetric, paper.capture.reach, paper.velocity.time_parts) == (False, 0, 1)
    assert (paper.weights.spatial, paper.descriptor.recompute) == ("uniform", True)
    assert not paper.descriptor.fill_outside


def test_the_digest_is_the_same_in_every_process():
    """A changed default or a changed way of writing makes old results be redone: that must be meant."""
    once = settings_digest(Settings())
    assert once == settings_digest(overlay(Settings(), {}, "test"))
    assert len(once) == 16
    assert int(once, 16) >= 0
    back = replace(replace(Settings(), margin_mm=11.0), margin_mm=10.0)
    assert settings_digest(back) == once


def test_a_table_merges_and_a_list_replaces(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        "[settings.registration]\nseed = 3\nlevels = [{ shrink = 2, iterations = 7 }]\n"
        "[settings.registration.weights]\nfolding = 2.5\n"
    )
    read = read_settings(path, Settings()).registration
    assert read.levels == (Level(2, 7),)
    assert (read.seed, read.weights.folding) == (3, 2.5)
    assert read.weights.gradient == Settings().registration.weights.gradient


def test_whole_numbers_will_do_for_lengths():
    assert overlay(Settings(), {"margin_mm": 12}, "test").margin_mm == 12.0


@pytest.mark.parametrize(
    "changes",
    [
        nested(("registration", "descriptor", "recompute"), "false"),
        nested(("registration", "descriptor", "recompute"), 0),
        nested(("registration", "seed"), 2.7),
        nested(("registration", "seed"), "3"),
        nested(("registration", "seed"), True),
        nested(("margin_mm",), "12"),
        nested(("margin_mm",), True),
        nested(("affine", "iterations"), "123"),
        nested(("affine", "iterations"), [1.5]),
    ],
)
def test_nothing_is_converted_silently(changes):
    """The text "false" would be true, and 2.7 would be 2."""
    with pytest.raises(UsageError, match="@ settings"):
        overlay(Settings(), changes, "test")


@pytest.mark.parametrize("settings", PRESETS.values(), ids=PRESETS)
def test_the_presets_make_sense(settings):
    check_settings(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (nested(("working_resolution_mm",), 1e-9), "working_resolution_mm is between 0.001 and 100"),
        (nested(("working_resolution_mm",), float("nan")), "working_resolution_mm is between"),
        (nested(("margin_mm",), -1.0), "margin_mm is between 0 and 1000"),
        (nested(("affine", "iterations"), [1]), "one value for each"),
        (nested(("affine", "spacings_mm"), [4.0]), "two values or more"),
        (nested(("affine", "iterations"), [1, 1, 0]), "all between 1"),
        (nested(("affine", "angles_deg"), []), "angles_deg"),
        (nested(("affine", "keep"), 0), "keep"),
        (nested(("registration", "levels"), []), "1 to 20 levels"),
        (nested(("registration", "levels"), [{"shrink": 0, "iterations": 1}]), "shrink of each level"),
        (nested(("registration", "levels"), [{"shrink": 1, "iterations": -1}]), "iterations of each"),
        (nested(("registration", "solver", "steps"), 0), "solver.steps is between 1 and 10000"),
        (nested(("registration", "final_steps"), 0), "final_steps is between 1"),
        (nested(("registration", "solver"), {"scheme": "squaring", "steps": 2}), "squaring is between 4"),
        (
            nested(("registration", "solver"), {"scheme": "squaring", "steps": 6, "gradient": "adjoint"}),
            "gradient is not adjoint",
        ),
        (nested(("registration", "descriptor", "offset"), 0), "offset is between 1"),
        (nested(("registration", "descriptor", "patch_radius"), -1), "patch_radius"),
        (nested(("registration", "descriptor", "patch_sigma"), 0.0), "patch_sigma is between"),
        (nested(("registration", "velocity", "latent_shrink"), 0), "latent_shrink is between 1"),
        (nested(("registration", "velocity", "smoothing_sigma"), -1.0), "smoothing_sigma"),
        (nested(("registration", "convergence_window"), 0), "convergence_window is between 1"),
        (nested(("registration", "weights", "folding_epsilon"), 1.0), "0 or more, and below 1"),
        (nested(("affine", "spacings_mm"), [7.0, 4.0, 2.0]), "whole multiples"),
        (nested(("registration", "learning_rate"), -1.0), "learning_rate"),
        (nested(("registration", "velocity", "lattice"), 0), "lattice"),
        (nested(("registration", "weights", "folding"), -1.0), "weights.folding is between 0"),
        (nested(("registration", "descriptor", "bins"), 3), "bins is between 4"),
        (nested(("registration", "descriptor", "window_radius"), 0), "window_radius is between 1"),
        (nested(("registration", "descriptor", "learned_weight"), 1.1), "learned_weight is between"),
        (nested(("registration", "descriptor", "learned_weight"), float("nan")), "learned_weight is between"),
        (nested(("registration", "velocity", "time_parts"), 0), "time_parts is between 1 and 1000"),
        (nested(("registration", "capture", "reach"), -1), "capture.reach is between 0"),
        (nested(("registration", "capture", "shrink"), 0), "capture.shrink is between 1"),
        (nested(("registration", "capture", "smoothing_sigma"), 0.0), "capture.smoothing_sigma is between"),
        (nested(("registration", "seed"), 2**63), "seed is between -9223372036854775808 and"),
        (nested(("registration", "solver", "steps"), 100_000_000), "solver.steps is between 1"),
        (nested(("registration", "solver"), {"scheme": "squaring", "steps": 31}), "between 4 and 30"),
        (nested(("registration", "velocity", "time_parts"), 100_000_000), "time_parts is between 1"),
        (nested(("registration", "weights", "folding_epsilon"), -1.0), "folding_epsilon is 0 or more"),
        (nested(("registration", "weights", "gradient"), float("inf")), "weights.gradient is between"),
        (nested(("registration", "learning_rate"), 1e300), "learning_rate is between 0"),
        (nested(("registration", "capture", "reach"), 101), "capture.reach is between"),
        (nested(("affine", "angles_deg"), [float("inf")]), "all between -360"),
        (nested(("affine", "angles_deg"), [1.0] * 37), "1 to 36 values"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check_settings(overlay(Settings(), changes, "test"))


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[settings]\nmargin_mm = 4.0\n", encoding="utf-8-sig")
    assert read_settings(path, Settings()).margin_mm == 4.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[settings]\nmargin = 4.0\n", "margin"),
        ("[settings.registration]\nspeed = 4\n", "speed"),
        ("[settings]\nmargin_mm = 'wide'\n", "margin_mm"),
        ("[settings]\ntransform = 'elastic'\n", "elastic"),
        ("[settings.registration]\nlevels = [{ shrink = 2 }]\n", "iterations"),
        ("[settings.registration]\nlevels = 3\n", "levels"),
        ("[settings]\naffine = 3\n", "affine"),
        ("settings = 3\n", "no table"),
        ("margin_mm = 4.0\n", "no table"),
        ("", "no table"),
        ("[settings\n", "not a TOML file"),
        ("PK\x03\x04", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_told_with_its_name_and_place(tmp_path, text, message):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_settings(path, Settings())
    assert str(caught.value).startswith(f"--config {path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="not a TOML file"):
        read_settings(tmp_path / "a.toml", Settings())
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path / "b.toml", Settings())
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path, Settings())


def test_plain_means_what_toml_and_json_can_hold():
    config = RunConfig(Path("/in"), Path("/out"), "participant", derivatives={"a": Path("/a")})
    plain = as_plain(config)
    assert plain["bids_dir"] == "/in"
    assert plain["derivatives"] == {"a": "/a"}
    assert "bids_filter_file" not in plain["selection"]  # None: TOML has no word for it
    assert plain["selection"]["shard"] == [1, 1]
