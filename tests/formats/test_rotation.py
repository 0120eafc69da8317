"""Rotations of any size."""

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard

from kbit.formats.rotation import random_signs, rotate, rotate_back, unpack_signs

SIZES = [1, 2, 3, 7, 12, 64, 127, 172, 480, 1024, 1342, 688]


def matrix(n: int, signs: torch.Tensor | None = None) -> torch.Tensor:
    signs = torch.ones(n) if signs is None else signs
    return rotate(torch.eye(n, dtype=torch.float64), signs).T


def test_a_power_of_two_is_sylvesters_hadamard_matrix() -> None:
    for n in (2, 16, 128, 1024):
        np.testing.assert_allclose(matrix(n).numpy() * n**0.5, hadamard(n), atol=1e-12)


def test_other_sizes_are_a_kronecker_product_with_the_hartley_matrix() -> None:
    for powers, odd in ((4, 3), (2, 43), (1, 7), (2, 67), (128, 3)):
        angle = 2 * np.pi * np.outer(np.arange(odd), np.arange(odd)) / odd
        expected = np.kron(hadamard(powers), np.cos(angle) + np.sin(angle)) / (powers * odd) ** 0.5
        np.testing.assert_allclose(matrix(powers * odd).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_it_is_orthogonal_and_flat(n: int) -> None:
    signs = unpack_signs(random_signs(n, seed=n), n)
    r = matrix(n, signs)
    torch.testing.assert_close(r @ r.T, torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(r.abs().max()) <= (2 / n) ** 0.5 + 1e-12
    x = torch.randn(3, 2, n, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotate(x, signs).double(), x.double() @ r.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rotate_back(rotate(x, signs), signs), x, atol=1e-5, rtol=1e-5)


def test_signs_are_bits() -> None:
    packed = random_signs(100, seed=5)
    assert packed.shape == (13,)
    signs = unpack_signs(packed, 100)
    assert set(signs.tolist()) == {1.0, -1.0}
    bits = np.unpackbits(packed.numpy(), bitorder="little")
    assert ((1 - 2.0 * bits[:100]) == signs.numpy()).all()
    assert not bits[100:].any()
    assert not torch.equal(packed, random_signs(100, seed=6))
    # The stream NumPy promises not to change: PCG64, bytes below 2.
    assert packed.tolist() == random_signs(100, seed=5).tolist()


def test_bfloat16_is_rounded_once_and_gradients_pass() -> None:
    signs = unpack_signs(random_signs(96, seed=1), 96)
    x = torch.randn(4, 96, dtype=torch.bfloat16)
    assert torch.equal(rotate(x, signs), rotate(x.float(), signs).bfloat16())
    leaf = x.double().requires_grad_()
    with torch.inference_mode():
        rotate(torch.randn(2, 44, dtype=torch.float64), torch.ones(44))
    rotate(torch.randn(2, 44, dtype=torch.float64).requires_grad_(), torch.ones(44)).sum().backward()
    grad = torch.randn(4, 96, dtype=torch.float64)
    rotate(leaf, signs).backward(grad)
    torch.testing.assert_close(leaf.grad, rotate_back(grad, signs), atol=1e-12, rtol=0)
