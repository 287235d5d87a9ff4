"""Figures of one pair: mosaics as WebP images, charts as SVG; each function writes one file.

Every array lies on one canonical grid: axes closest to right, anterior, superior (RAS), as
``geometry.isotropic_grid`` makes it. No global state of matplotlib is touched.
"""
