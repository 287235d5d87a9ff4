"""From single results to means, paired differences and structures; no text, no files but the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Record = dict[str, Any]

RESAMPLES = 10_000
SEED = 0
NOISE_DICE = 0.03
"""Automatic labels do not tell smaller differences of one structure from noise."""


def read_store(store: Path) -> list[Record]:
    """Every result of a store, ordered by case and method."""
    return [json.loads(path.read_text()) for path in sorted(store.glob("*/*/result.json"))]


def table_of(records: Sequence[Record], kind: str, measure: str) -> dict[str, dict[str, float]]:
    """Method -> case -> one measure or cost, for all results of a kind that have it."""
    table: dict[str, dict[str, float]] = {}
    for record in records:
        value = (record.get("measures", {}) | (record.get("cost") or {})).get(measure)
        if record["kind"] == kind and value is not None:
            table.setdefault(record["method"], {})[record["case"]] = float(value)
    return table


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation between cases (n - 1); no spread of a single case."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired_difference(
    ours: dict[str, float], theirs: dict[str, float], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Any] | None:
    """Mean of ours minus theirs over the cases both have, with its bootstrap interval.

    The interval is the middle 95 % of the means of cases drawn anew with replacement (Efron & Tibshirani
    1993, percentile method). It holds for cases like these; some share a person, so it is rather narrow.

    Returns
    -------
    dict or None
        ``n``, ``mean``, ``low``, ``high`` (None for a single case), ``better``: number of cases with a
        positive difference. None without a shared case.
    """
    cases = sorted(set(ours) & set(theirs))
    if not cases:
        return None
    differences = np.array([ours[case] - theirs[case] for case in cases])
    low = high = None
    if len(cases) > 1:
        drawn = np.random.default_rng(seed).integers(len(cases), size=(resamples, len(cases)))
        low, high = (float(value) for value in np.percentile(differences[drawn].mean(1), [2.5, 97.5]))
    return {
        "n": len(cases),
        "mean": float(differences.mean()),
        "low": low,
        "high": high,
        "positive": int((differences > 0).sum()),
    }


def structure_table(records: Sequence[Record], kind: str) -> dict[str, dict[str, dict[str, float]]]:
    """Label code -> method -> case -> Dice; a structure that the moved map lost has 0."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        if record["kind"] == kind:
            for code, values in record.get("structures", {}).items():
                by_method = table.setdefault(code, {}).setdefault(record["method"], {})
                by_method[record["case"]] = float(values["dice"] or 0)
    return dict(sorted(table.items(), key=lambda item: int(item[0])))


def lost_structures(
    structures: dict[str, dict[str, dict[str, float]]], ours: str, peers: Sequence[str]
) -> list[dict[str, Any]]:
    """Per structure: ours against the peer that does best on the cases both have."""
    rows = []
    for code, by_method in structures.items():
        differences = {
            peer: found
            for peer in peers
            if (found := paired_difference(by_method.get(ours, {}), by_method.get(peer, {}))) is not None
        }
        if differences:
            best = min(differences, key=lambda peer: differences[peer]["mean"])
            worst = differences[best]
            lost = worst["mean"] < -NOISE_DICE
            rows.append({"label": int(code), "best_peer": best, "lost": lost, **worst})
    return rows
