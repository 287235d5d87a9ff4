"""Draw the training curve: ``python training/curve.py DIR/curve.csv curve.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt  # the backend first

WINDOW = 50


def main() -> None:
    """Read the log, average over a window of steps, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    log = np.genfromtxt(arguments.log, delimiter=",", names=True)
    kernel = np.ones(WINDOW) / WINDOW
    steps = np.convolve(log["step"], kernel, mode="valid")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.plot(steps, np.convolve(log["loss"], kernel, mode="valid"))
    left.set(xlabel="step", ylabel="InfoNCE", title=f"mean of {WINDOW} steps")
    right.plot(steps, np.convolve(log["top1"], kernel, mode="valid"))
    right.set(xlabel="step", ylabel="true place is the nearest", ylim=(0, 1))
    figure.savefig(arguments.picture, dpi=80)


if __name__ == "__main__":
    main()
