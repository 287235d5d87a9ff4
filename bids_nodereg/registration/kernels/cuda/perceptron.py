"""The perceptron on a card: matrix products, which torch has for every precision and autocast chooses."""

from bids_nodereg.registration.kernels.reference.perceptron import perceptron

__all__ = ["perceptron"]
