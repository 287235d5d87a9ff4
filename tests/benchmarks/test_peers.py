from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from exchange import save_like, save_voxel_field
from peers.case_list import Case, Scan, case_sets, choose
from peers.launch import MethodFailedError, run_measured
from peers.methods import method_named
from peers.ours import settings_of
from peers.prepare import Truth
from peers.report import write_report
from peers.score import score
from peers.summary import lost_structures, paired_difference, structure_table, table_of

from bids_nodereg.files import write_json
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField
from bids_nodereg.imaging.transforms import read_displacement_nifti
from bids_nodereg.imaging.volume import Volume, read_labels, write_image


def test_voxel_displacement_of_an_adapter_reads_as_world_displacement(tmp_path):
    # oblique, and the first axis runs against the world's: what mixed axes and flips would break
    affine = np.array([[-0.96, 0.54, 0, 10], [0.72, 0.72, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1.0]])
    grid = Grid((4, 5, 6), affine)
    write_image(np.ones(grid.shape, np.float32), grid, tmp_path / "like.nii")
    voxels = np.random.default_rng(0).normal(size=(4, 5, 6, 3))

    save_voxel_field(voxels, tmp_path / "field.nii", tmp_path / "like.nii")
    field = read_displacement_nifti(tmp_path / "field.nii")

    start = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    truth = grid.to_world(start + voxels) - grid.to_world(start)
    assert field.grid.is_close(grid)
    assert np.abs(field.vectors - truth).max() < 1e-5


def test_adapter_image_keeps_the_grid(tmp_path):
    grid = Grid((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    write_image(np.ones(grid.shape, np.float32), grid, tmp_path / "like.nii")
    save_like(np.full(grid.shape, 7.0), tmp_path / "seven.nii", tmp_path / "like.nii")
    copy = read_labels(tmp_path / "seven.nii")
    assert copy.grid.is_close(grid)
    assert (copy.data == 7).all()


def boxes(shape, *corners, size=6):
    labels = np.zeros(shape, np.uint8)
    for code, (i, j, k) in enumerate(corners, start=1):
        labels[i : i + size, j : j + size, k : k + size] = code
    return labels


@pytest.fixture
def shifted():
    """Two boxes; in the moving image they lie 3 voxels further along i."""
    grid = Grid((30, 20, 20), np.diag([1.5, 1.5, 1.5, 1.0]))
    fixed = boxes(grid.shape, (5, 5, 5), (12, 10, 10))
    moving = Volume(boxes(grid.shape, (8, 5, 5), (15, 10, 10)), grid, Path("moving"), np.dtype(np.uint8))
    vectors = np.zeros((*grid.shape, 3), np.float32)
    vectors[..., 0] = 3 * 1.5
    return Truth(grid, np.eye(4), fixed > 0, fixed, moving, (1, 2), (1,), DisplacementField(grid, vectors))


def test_true_field_has_no_error(shifted):
    result = score(shifted, shifted.displacement, None)["measures"]
    assert result["dice"] == result["dice_all"] == 1
    assert result["hd95_mm"] == result["endpoint_error_max_mm"] == 0
    assert result["displacement_mean_mm"] == pytest.approx(4.5)


def test_no_field_has_the_overlap_of_shifted_boxes(shifted):
    zero = DisplacementField(shifted.grid, np.zeros((*shifted.grid.shape, 3), np.float32))
    result = score(shifted, zero, zero)
    assert result["structures"]["1"]["dice"] == pytest.approx(0.5)  # 3 of 6 planes are shared
    assert "endpoint_error_inner_mean_mm" not in result["measures"]  # boxes of 9 mm have no inside
    assert result["measures"]["endpoint_error_mean_mm"] == pytest.approx(4.5)
    assert result["measures"]["inverse_error_max_mm"] == 0


def test_structure_that_a_map_loses_counts_as_zero(shifted):
    vectors = np.zeros((*shifted.grid.shape, 3), np.float32)
    vectors[..., 1] = 500  # everything comes from outside
    result = score(shifted, DisplacementField(shifted.grid, vectors), None)
    assert result["measures"]["dice"] == 0
    assert result["structures"]["2"]["dice"] == 0


def test_interval_of_the_mean_agrees_with_the_normal_one():
    values = np.random.default_rng(3).normal(0.02, 0.01, 400)
    ours = {f"case{n}": value for n, value in enumerate(values)}
    found = paired_difference(ours | {"only ours": 9.0}, dict.fromkeys(ours, 0.0) | {"only theirs": 1.0})
    half = 1.96 * values.std(ddof=1) / 20
    assert found["n"] == 400
    assert found["mean"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert found["positive"] == int((values > 0).sum())


def test_nothing_is_said_without_enough_cases():
    assert paired_difference({"a": 1.0}, {"b": 1.0}) is None
    single = paired_difference({"a": 1.0}, {"a": 0.5})
    assert (single["mean"], single["low"]) == (0.5, None)


def record(case, method, dice, structure):
    return {
        "case": case,
        "kind": "real",
        "method": method,
        "measures": {"dice": dice},
        "structures": {"7": {"dice": structure, "hd95_mm": 1.0}},
    }


def test_lost_structure_is_found_against_the_best_peer():
    records = [
        record("a", "ours", 0.8, 0.5),
        record("b", "ours", 0.8, None),
        record("a", "good", 0.7, 0.9),
        record("b", "good", 0.7, 0.9),
        record("a", "poor", 0.7, 0.1),
    ]
    assert table_of(records, "real", "dice")["ours"] == {"a": 0.8, "b": 0.8}
    assert table_of(records, "mono", "dice") == {}
    (row,) = lost_structures(structure_table(records, "real"), "ours", ["good", "poor"])
    assert (row["best_peer"], row["lost"], row["n"]) == ("good", True, 2)
    assert row["mean"] == pytest.approx(0.25 - 0.9)


def test_report_tells_differences_failures_and_missing_numbers(tmp_path):
    for case, ours, theirs in (("a", 0.80, 0.75), ("b", 0.82, 0.79)):
        for method, dice in (("nodereg-default", ours), ("peer", theirs)):
            result = record(case, method, dice, dice) | {"cost": {"cpu_s": 12.0}, "note": {"version": "1.2"}}
            write_json(tmp_path / case / method / "result.json", result)
    failed = {"case": "a", "kind": "real", "method": "broken", "failed": "ended with 1"}
    write_json(tmp_path / "a" / "broken" / "result.json", failed)

    write_report(tmp_path, "nodereg-default", tmp_path / "accuracy")

    lines = (tmp_path / "accuracy.md").read_text().splitlines()
    assert "| nodereg-default | 2 | 0.81 ± 0.0141 | - | - | - | - | - | 12 ± 0 | - | - |" in lines
    assert "| peer | 2 | +0.040 [+0.030, +0.050] | 2 of 2 |" in lines
    assert "| thalamus | peer | 2 | +0.040 [+0.030, +0.050] | no |" in lines
    assert "| a | broken | ended with 1 |" in lines
    kinds = json.loads((tmp_path / "accuracy.json").read_text())["kinds"]
    assert list(kinds) == ["real"]
    assert kinds["real"]["differences"]["dice"]["peer"]["mean"] == pytest.approx(0.04)


def test_cases_are_unique_and_cross_people_and_contrasts():
    sets = case_sets()
    names = [case.name for case in sets["all"]]
    assert len(names) == len(set(names))
    assert [len(sets[name]) for name in ("real-fast", "real-first", "real", "exact", "mono", "known")] == [
        4, 8, 14, 4, 4, 3,
    ]  # fmt: skip
    for case in (*sets["real-all"], *sets["exact"]):
        assert case.fixed.subject != case.moving.subject
        assert (case.fixed.contrast == "T1w") != (case.moving.contrast == "T1w")


def test_choose_takes_sets_and_names_once():
    chosen = choose(["mono-kirbyT1-omsT1", "mono-first"])
    assert chosen[0] == Case("mono", Scan("kirby", "T1w"), Scan("oms", "T1w"))
    assert len(chosen) == 2
    with pytest.raises(SystemExit, match="no such case: nowhere"):
        choose(["nowhere"])


def test_variant_names_become_settings():
    settings = settings_of("nodereg:registration.weights.gradient=0.2,registration.velocity.name=grid")
    assert settings.registration.weights.gradient == 0.2
    assert settings.registration.velocity.name == "grid"
    levels = settings_of(
        'nodereg-fast:registration.levels=[{"shrink":4,"iterations":5},{"shrink":2,"iterations":3}]'
    )
    assert [(level.shrink, level.iterations) for level in levels.registration.levels] == [(4, 5), (2, 3)]
    assert levels.working_resolution_mm == settings_of("nodereg-fast").working_resolution_mm == 2.0


def test_only_our_presets_take_changes(monkeypatch):
    assert method_named("nodereg-fast:registration.seed=1").missing() is None
    with pytest.raises(SystemExit, match="no such method: deeds:alpha=2"):
        method_named("deeds:alpha=2")
    monkeypatch.delenv("PEERS_PYTHON", raising=False)
    assert "PEERS_PYTHON" in method_named("deeds").missing()


def test_peak_memory_is_the_commands_own(tmp_path):
    here = np.ones(2**25)  # 256 MB in this process must not count
    cost = run_measured([sys.executable, "-c", "x = b'1' * (80 << 20)"], tmp_path, 60, 1)
    assert here[-1] == 1
    assert 80 < cost.peak_mb < 200
    assert 0 < cost.cpu_s < 30


def test_failure_and_time_limit_are_told(tmp_path):
    with pytest.raises(MethodFailedError, match=r"ended with 3 .*\s*the reason"):
        run_measured([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], tmp_path, 60, 1)
    with pytest.raises(MethodFailedError, match=r"limit 0 s"):
        run_measured([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.3, 1)
