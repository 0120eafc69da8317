"""Randomised Hadamard rotation of any size: an orthogonal map that spreads outliers over all dimensions.

For n = 2^m r with r odd it is H_{2^m} (x) C_r diag(signs), where H is Sylvester's Hadamard matrix over
sqrt(2^m) and C the discrete Hartley matrix cas(2 pi j k / r) / sqrt(r) with cas = cos + sin. C is
symmetric and orthogonal for every r, no entry is beyond sqrt(2 / r) (a Hadamard matrix of that order
would have 1 / sqrt(r), where there is one), and C_1 = 1: a power of two is rotated by Hadamard matrices
alone. A layer y = W x keeps its result when both sides are rotated: W x = (W R^T) (R x).

Source: Chee et al. 2023 (QuIP), arXiv 2307.13304, and Tseng et al. 2024 (QuIP#), arXiv 2402.04396, for the
randomised Hadamard transform; Bracewell 1983, J. Opt. Soc. Am. 73:1832, for the Hartley transform.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# A factor of up to this order is multiplied as a dense matrix; two or three such products are one pass of
# a fast transform each, without its many short steps. A longer odd part goes through the FFT.
MAX_FACTOR = 64


def random_signs(size: int, seed: int) -> Tensor:
    """Signs as they are stored: one bit for each dimension, little-endian in bytes; a set bit is -1.

    Args:
        size: dimensions.
        seed: what they follow from, by NumPy's PCG64.

    Returns:
        uint8 [ceil(size / 8)]; unused bits are zero.
    """
    bits = np.random.Generator(np.random.PCG64(seed)).integers(0, 2, size, dtype=np.uint8)
    return torch.from_numpy(np.packbits(bits, bitorder="little"))


def unpack_signs(signs: Tensor, size: int) -> Tensor:
    """Stored signs as +1 and -1, float32 [size].

    >>> unpack_signs(torch.tensor([0b101], dtype=torch.uint8), 4)
    tensor([-1.,  1., -1.,  1.])
    """
    shifts = torch.arange(8, dtype=torch.uint8, device=signs.device)
    bits = (signs[:, None] >> shifts) & 1
    return 1 - 2 * bits.reshape(-1)[:size].float()


def rotate(x: Tensor, signs: Tensor) -> Tensor:
    """R x: flip signs, then mix all dimensions.

    Computed in float32 (float64 for float64), then rounded to x's type; differentiable.

    Args:
        x: [..., n].
        signs: [n] of +1 and -1 (see `unpack_signs`).

    >>> (rotate(torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])) * math.sqrt(2)).round()
    tensor([-1.,  7.])
    """
    wide = x if x.dtype == torch.float64 else x.float()
    return _mix(wide * signs.to(wide.dtype)).to(x.dtype)


def rotate_back(x: Tensor, signs: Tensor) -> Tensor:
    """R^T x, the inverse of `rotate`: the mixing is symmetric, so it is its own inverse."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (_mix(wide) * signs.to(wide.dtype)).to(x.dtype)


def _mix(x: Tensor) -> Tensor:
    n = x.shape[-1]
    if x.numel() == 0:
        return x
    flat = x.reshape(-1, n)
    # Axis by axis: the last is transformed and becomes the first, so after all of them the order is back.
    for order in reversed(_factors(n)):
        last = flat.reshape(-1, n // order, order)
        if order > MAX_FACTOR:
            last = _hartley(last)
        elif order > 1:
            last = last @ _matrix(order, x.dtype, x.device)
        flat = last.transpose(1, 2).reshape(-1, n)
    return flat.reshape(x.shape)


@lru_cache(maxsize=64)
def _factors(n: int) -> tuple[int, ...]:
    """Powers of two of nearly equal size and the odd part, whose product is n.

    >>> _factors(4096), _factors(11008), _factors(7)
    ((64, 64), (16, 16, 43), (7,))
    """
    odd = n
    while odd % 2 == 0:
        odd //= 2
    exponent = (n // odd).bit_length() - 1
    count = max(1, -(-exponent // int(math.log2(MAX_FACTOR)))) if exponent else 0
    powers = [2 ** (exponent // count + (i < exponent % count)) for i in range(count)]
    return (*powers, odd) if odd > 1 or not powers else tuple(powers)


@lru_cache(maxsize=64)
def _matrix(order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if order % 2:
        angles = 2 * np.pi / order * (np.outer(np.arange(order), np.arange(order)) % order)
        made = (np.cos(angles) + np.sin(angles)) / math.sqrt(order)
    else:
        index = np.arange(order)
        ones = np.bitwise_count(index[:, None] & index[None, :])
        made = (1 - 2.0 * (ones % 2)) / math.sqrt(order)
    with torch.inference_mode(mode=False):  # or no gradient could pass through a matrix made in it
        return torch.tensor(made, dtype=dtype, device=device)


def _hartley(x: Tensor) -> Tensor:
    """The Hartley transform of the last dimension, by the FFT: the real part less the imaginary one."""
    spectrum: Tensor = torch.fft.fft(x, norm="ortho")
    return spectrum.real - spectrum.imag
