"""Accuracy against other programs: cases, adapters, one evaluator, one report."""
