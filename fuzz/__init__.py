"""Fuzzing of everything that reads a file somebody else wrote; see README.md."""
