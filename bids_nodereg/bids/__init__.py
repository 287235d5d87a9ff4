"""Names and files of BIDS data sets: what is there, what pairs up, what the outputs are called."""
