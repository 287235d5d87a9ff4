from __future__ import annotations

import torch

from bids_nodereg.registration.optimise import ImagePair


def test_a_mask_thinner_than_a_coarse_voxel_does_not_vanish():
    image = torch.rand(1, 1, 24, 31, 19)
    thin = torch.zeros_like(image)
    thin[..., 12, :, :] = 1
    coarse = ImagePair(image, image, thin, thin).shrunk(4)
    assert coarse.fixed_mask.sum() > 0
    assert coarse.fixed_mask.sum() < 0.5 * coarse.fixed_mask.numel()


def test_a_thick_mask_keeps_its_extent():
    thick = torch.zeros(1, 1, 24, 31, 19)
    thick[..., 6:18, 8:24, 5:15] = 1
    coarse = ImagePair(thick, thick, thick, thick).shrunk(2).fixed_mask
    share = thick.mean()
    assert abs(coarse.mean() - share) < 0.25 * share
