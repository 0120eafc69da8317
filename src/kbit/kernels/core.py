"""Products of a few rows of activations with packed weights, in the C++ core."""

import warnings
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from kbit import _core
from kbit.formats.decoding import core_parts
from kbit.formats.packed import PackedTensor

MOST_ROWS = 16  # of activations: with more, unpacking is a small part of a dense product

# What a product needs beside input and output: activations in the kernel's order (16 rows of float32, or 16
# times as wide for tiles), sums over blocks, and the float32 result before it is rounded.
WORKSPACE_BYTES_A_COLUMN = 256

_CORE_NUMERICS = {torch.bfloat16: "bf16", torch.float32: "f32", torch.float16: "f32"}
_said: set[str] = set()
_prepared: "WeakKeyDictionary[PackedTensor, tuple[int, _core.Weight]]" = WeakKeyDictionary()


def serves(device: str, dtype: torch.dtype) -> bool:
    """Whether the core multiplies inputs of this type on this device; it takes every packed format."""
    return device == "cpu" and dtype in _CORE_NUMERICS


def prepared(packed: PackedTensor) -> "_core.Weight":
    """The weight as the core reads it: views of the packed parts, made once for each."""
    table = packed.table
    # Tensors made in inference mode count no versions; they cannot be changed outside of it either.
    version = 0 if table is None or table.is_inference() else table._version
    found = _prepared.get(packed)
    if found is None or found[0] != version:
        found = (version, _core.Weight(**core_parts(packed), threads=torch.get_num_threads()))
        _prepared[packed] = found
        _say_if_general(found[1], packed)
    return found[1]


def _say_if_general(weight: "_core.Weight", packed: PackedTensor) -> None:
    """Warn, once for each format and width, where faster loops than the one that serves it exist here."""
    what = f"{packed.format} with {packed.shape[1]} columns"
    fast_exists = _core.path() != "portable"
    if fast_exists and weight.kernel("f32") == "general" and what not in _said:
        _said.add(what)
        warnings.warn(
            f"{what} has no fast kernel: its blocks end at places in a row that are not multiples of 16. "
            "Products are right, and several times slower; blocks along rows (such as b64) are fast.",
            stacklevel=4,
        )


def core_product(x: Tensor, packed: PackedTensor, bias: Tensor | None) -> Tensor:
    """Y = x W^T + bias without decoding W into memory.

    The table's values and the scales are used as stored: a bfloat16 weight is never rounded again, as it is
    in a dense layer. Sums are float32, and the result is rounded once to x's type.

    Args:
        x: [n, cols], float32, bfloat16 or float16 (multiplied as float32).
        packed: weights [rows, cols].
        bias: [rows] or None.

    Returns:
        [n, rows] in x's type.
    """
    return _multiply(x, packed, bias, _CORE_NUMERICS[x.dtype])


def core_product_a8(x: Tensor, packed: PackedTensor, bias: Tensor | None) -> Tensor:
    """The same with activations rounded to 8 bits in blocks of 64, and the table too unless it is integers.

    A block's 64 products are summed exactly in integers, as llama.cpp does for its types. Any number of rows:
    beyond a few, each weight is decoded once into a panel that all rows are multiplied with.
    """
    weight = prepared(packed)
    if x.shape[0] <= MOST_ROWS or not weight.long_a8:
        return _multiply(x, packed, bias, "a8")
    wanted = x.dtype
    if wanted == torch.float16:
        x = x.float()
    if x.stride(-1) != 1 and x.shape[-1] > 1:
        x = x.contiguous()
    wide_bias = None if bias is None else bias.detach().float().contiguous()
    y = x.new_empty(x.shape[0], packed.shape[0])
    weight.long_multiply_a8(
        x.data_ptr(),
        x.dtype == torch.bfloat16,
        x.shape[0],
        x.stride(0),
        0 if wide_bias is None else wide_bias.data_ptr(),
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y.to(wanted)


def _multiply(x: Tensor, packed: PackedTensor, bias: Tensor | None, numerics: str) -> Tensor:
    if x.dtype == torch.float16:
        x = x.float()
        return _multiply(x, packed, bias, numerics).to(torch.float16)
    if x.stride(-1) != 1 and x.shape[-1] > 1:
        x = x.contiguous()
    n = x.shape[0]
    y = torch.empty(n, packed.shape[0], dtype=torch.float32)
    prepared(packed).multiply(
        x.data_ptr(),
        x.dtype == torch.bfloat16,
        n,
        x.stride(0),
        y.data_ptr(),
        numerics,
        torch.get_num_threads(),
    )
    if bias is not None:
        y += bias
    return y.to(x.dtype)
