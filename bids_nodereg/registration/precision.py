"""How many digits are kept where, by device.

Velocity, flows, sums and the weights that are optimised are float32 everywhere. Two things may keep fewer.
The descriptors are stored as the kernels of the device like them (:func:`.kernels.stored`); they are read
back to float32 before anything is computed. The network of the velocity may multiply its matrices in
bfloat16 on a card that has it. Not in float16: a gradient with respect to the velocity is a mean over
millions of voxels, and most of its values are below 6e-8, where float16 ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.settings import Execution


def network_dtype(device: torch.device, execution: Execution) -> torch.dtype:
    """Precision in which the network of the velocity computes."""
    if execution.mixed and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


class Reduced(nn.Module):
    """A network that computes in fewer digits, and whose weights and result keep all of theirs."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self._dtype = dtype

    def forward(self) -> Tensor:
        """Return what the network returns, in float32."""
        device = next(self.network.parameters()).device.type
        # Without the cache of converted weights: a recorded iteration must convert them each time.
        with torch.autocast(device, self._dtype, cache_enabled=False):
            vectors: Tensor = self.network()
        return vectors.float()


def reduced(networks: nn.ModuleList, dtype: torch.dtype) -> nn.ModuleList:
    """The networks in a precision; as they are where that is float32."""
    if dtype == torch.float32:
        return networks
    return nn.ModuleList(Reduced(network, dtype) for network in networks)
