"""How each family of data types makes its entries."""

import numpy as np

WINDOW = 12
"""Bits of codes that a value of a trellis-coded type follows from."""


def integer_entries(bits: int) -> tuple[float, ...]:
    """Symmetric truncated integers: -(2^(k-1)-1) .. 2^(k-1)-1; the two signs for k = 1.

    One of the 2^k codes is given up so that zero is an entry and both signs reach equally far
    (Dettmers & Zettlemoyer 2022, section 2). With one bit nothing would be left but zero, so k = 1
    gives up the zero instead: {-1, +1}.

    >>> integer_entries(2)
    (-1.0, 0.0, 1.0)
    >>> integer_entries(1)
    (-1.0, 1.0)
    """
    if bits == 1:
        return (-1.0, 1.0)
    top = 2 ** (bits - 1) - 1
    return tuple(float(v) for v in range(-top, top + 1))


def unsigned_entries(bits: int) -> tuple[float, ...]:
    """0 .. 2^k-1, for affine quantisation.

    >>> unsigned_entries(2)
    (0.0, 1.0, 2.0, 3.0)
    """
    return tuple(float(v) for v in range(2**bits))


def float_entries(exponent_bits: int, mantissa_bits: int) -> tuple[float, ...]:
    """Every value of a sign, E exponent and M mantissa bits, without infinities and NaN.

    Exponent field 0 is subnormal. The bias is 2^E - 1, so the largest value lies in [1, 2): another
    bias multiplies the whole table by a power of two, which the block's scale takes up, and this one
    keeps every table within bfloat16's range and every scale near the block's largest weight.
    Zero has one code, not two, so there are 2^k - 1 entries.

    >>> float_entries(2, 1)[7:]
    (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5)
    """
    steps = 2**mantissa_bits
    bias = 2**exponent_bits - 1
    subnormal = [m / steps * 2.0 ** (1 - bias) for m in range(1, steps)]
    normal = [(1 + m / steps) * 2.0 ** (e - bias) for e in range(1, 2**exponent_bits) for m in range(steps)]
    positive = subnormal + normal
    return (*[-v for v in reversed(positive)], 0.0, *positive)


def normal_float_entries(bits: int) -> tuple[float, ...]:
    """NormalFloat: quantiles of a Gaussian, normalised to [-1, 1], rounded to bfloat16.

    2^(k-1) positive quantiles, 2^(k-1) - 1 negative ones and an exact zero (Dettmers et al. 2023,
    QLoRA, appendix E), equally spaced in probability from 1/2 to 1 - (1/2^(k+1) + 1/(2^(k+1)-2))/2,
    which for k = 4 is the 0.9677083 of its published table.

    >>> normal_float_entries(2)
    (-1.0, 0.0, 0.435546875, 1.0)
    """
    from scipy.special import ndtri

    half = 2 ** (bits - 1)
    end = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2
    positive = ndtri(np.linspace(end, 0.5, half + 1)[:-1])
    negative = -ndtri(np.linspace(end, 0.5, half)[:-1])
    entries = np.sort(np.concatenate([positive, negative, [0.0]])) / positive[0]
    return tuple(float(v) for v in round_to_bfloat16(entries))


def dynamic_entries(bits: int) -> tuple[float, ...]:
    """Dynamic exponent: zero bits before an indicator bit are a base-10 exponent, the rest a fraction.

    With i fraction bits there are 2^i values, the middles of equal steps from 0.1 to 1, times
    10^(i - (k - 2)); both signs, 0, and 1 in place of a negative zero (Dettmers 2015, arXiv 1511.04561, and
    bitsandbytes' create_dynamic_map, which this equals), rounded to bfloat16.

    >>> dynamic_entries(3)
    (-0.7734375, -0.32421875, -0.054931640625, 0.0, 0.054931640625, 0.32421875, 0.7734375, 1.0)
    """
    positive: list[float] = []
    for i in range(bits - 1):
        edges = np.linspace(0.1, 1.0, 2**i + 1)
        positive.extend(10.0 ** (i - (bits - 2)) * (edges[1:] + edges[:-1]) / 2)
    entries = np.sort(np.array([*positive, *(-v for v in positive), 0.0, 1.0]))
    return tuple(float(v) for v in round_to_bfloat16(entries))


def trellis_entries() -> tuple[float, ...]:
    """The 2^12 values: Gaussian quantiles in an order that looks random, rounded to bfloat16.

    Entry s is the quantile of (p(s) + 1/2) / 2^12, where p mixes the 12 bits of s: three times
    h = (2533 h + 967) mod 2^12, then h ^= h >> 6; at last h = 1747 h mod 2^12.

    >>> trellis_entries()[:3]
    (-2.1875, 0.1376953125, -0.9765625)
    """
    from scipy.special import ndtri

    size = 1 << WINDOW
    place = np.arange(size)
    for _ in range(3):
        place = (place * 2533 + 967) % size
        place ^= place >> (WINDOW // 2)
    place = place * 1747 % size
    return tuple(float(v) for v in round_to_bfloat16(ndtri((place + 0.5) / size)))


def round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of each value (ties to even), as float32.

    >>> round_to_bfloat16(np.array([1.0, 0.7]))
    array([1.        , 0.69921875], dtype=float32)
    """
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
