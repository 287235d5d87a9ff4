"""The method: descriptors, velocity fields, their flow, and the optimisation over one pair.

Everything here works in voxels of one isotropic working grid and knows neither files nor BIDS.
"""
