"""Training of the learned descriptor: a data engine of painted label maps, and the loop."""
