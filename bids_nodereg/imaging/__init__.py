"""Images as arrays on grids: reading, preparing, resampling, and the transform file formats."""
