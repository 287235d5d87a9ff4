from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bids_nodereg.registration.kernels import choice, cpu, reference

CARD = torch.device("cuda:0")
TRITON = SimpleNamespace(resize=lambda image, shape: image)


def tensor(
    dtype: torch.dtype = torch.float32, batch: int = 1, device: torch.device = CARD
) -> SimpleNamespace:
    """What the choice looks at; a CUDA tensor cannot be made here."""
    return SimpleNamespace(dtype=dtype, shape=(batch, 3, 5, 6, 7), device=device)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A card that Triton can serve."""
    monkeypatch.setattr(choice, "find_spec", lambda name: name)
    monkeypatch.setattr(choice, "_triton_kernels", lambda: TRITON)
    monkeypatch.setattr(choice, "why_not_triton", choice.why_not_triton.__wrapped__)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch, "zeros", lambda *args, **kwargs: None)
    return monkeypatch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_triton_serves_single_images_on_cuda(dtype: torch.dtype, card: pytest.MonkeyPatch) -> None:
    assert choice.implementation_for(tensor(dtype)) is TRITON


@pytest.mark.parametrize("wrong", [{"batch": 2}, {"dtype": torch.float64}])
def test_torch_serves_the_rest_on_cuda(wrong: dict, card: pytest.MonkeyPatch) -> None:
    assert choice.implementation_for(tensor(**wrong)) is reference


@pytest.mark.parametrize("lattice", [(1, 6, 7), (5, 1, 7), (5, 6, 1)])
def test_torch_serves_an_axis_of_one_voxel(lattice: tuple[int, int, int]) -> None:
    flat = SimpleNamespace(dtype=torch.float32, shape=(1, 3, *lattice), device=torch.device("cpu"))

    assert choice.implementation_for(flat) is reference


def test_a_kernel_that_fails_after_its_start_is_noticed(card: pytest.MonkeyPatch) -> None:
    def fails(device: object) -> None:
        message = "an illegal instruction was encountered"
        raise RuntimeError(message)

    card.setattr(torch.cuda, "synchronize", fails)

    assert "illegal instruction" in choice.why_not_triton(CARD)


def test_numba_serves_float32_on_the_cpu() -> None:
    here = torch.device("cpu")
    assert choice.implementation_for(tensor(device=here)) is cpu
    assert choice.implementation_for(tensor(torch.float64, device=here)) is reference
    assert choice.implementation_for(tensor(batch=2, device=here)) is reference


def test_why_torch_must_serve_is_said(card: pytest.MonkeyPatch) -> None:
    def fails(image: object, shape: object) -> None:
        message = "Failed to find C compiler"
        raise RuntimeError(message)

    assert choice.why_not_triton(CARD) is None
    card.setattr(choice, "_triton_kernels", lambda: SimpleNamespace(resize=fails))
    assert "Failed to find C compiler" in choice.why_not_triton(CARD)
    assert choice.implementation_for(tensor()) is reference
    card.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert "6.1" in choice.why_not_triton(CARD)
    card.setattr(choice, "find_spec", lambda name: None)
    assert "not installed" in choice.why_not_triton(CARD)
