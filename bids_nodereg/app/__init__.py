"""The conductor: takes one pair from files to files, and the run over all pairs."""
