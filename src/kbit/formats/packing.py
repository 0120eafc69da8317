"""Codes to a little-endian bit stream and back: code i of a row is bits k*i to k*i+k-1.

On a CPU the C++ core does it; elsewhere eight codes at a time go through one 64-bit integer in torch.
"""

import torch
from torch import Tensor

from kbit import _core
from kbit.formats.size import row_bytes


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack codes.

    Args:
        codes: uint8 [rows, cols], each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8 [rows, row_bytes(cols, bits)]; padding is zero.

    Raises:
        ValueError: a code of 2^bits or more.
    """
    rows, cols = codes.shape
    if codes.device.type == "cpu":
        out = torch.empty(rows, row_bytes(cols, bits), dtype=torch.uint8)
        _core.pack(codes.detach(), bits, out, threads=torch.get_num_threads())
        return out
    if codes.numel() and int(codes.max()) >= 2**bits:
        raise ValueError(f"a code does not fit in {bits} bits")
    groups = row_bytes(cols, bits) // bits
    padded = torch.zeros(rows, groups * 8, dtype=torch.uint8, device=codes.device)
    padded[:, :cols] = codes
    eight = padded.view(rows, groups, 8).to(torch.int64)
    word = torch.zeros(rows, groups, dtype=torch.int64, device=codes.device)
    for i in range(8):
        word |= eight[:, :, i] << (bits * i)
    streams = torch.stack([(word >> (8 * b)) & 255 for b in range(bits)], dim=2)
    return streams.to(torch.uint8).view(rows, groups * bits)


def unpack_codes(packed: Tensor, bits: int, cols: int) -> Tensor:
    """Unpack codes: the inverse of `pack_codes`.

    Args:
        packed: uint8 [rows, row_bytes(cols, bits)].
        bits: 1 to 8.
        cols: codes in a row.

    Returns:
        uint8 [rows, cols].
    """
    rows = packed.shape[0]
    if packed.device.type == "cpu":
        out = torch.empty(rows, cols, dtype=torch.uint8)
        _core.unpack(packed.detach(), bits, out, threads=torch.get_num_threads())
        return out
    groups = row_bytes(cols, bits) // bits
    eight = packed.reshape(rows, groups, bits).to(torch.int64)
    word = torch.zeros(rows, groups, dtype=torch.int64, device=packed.device)
    for b in range(bits):
        word |= eight[:, :, b] << (8 * b)
    codes = torch.stack([(word >> (bits * i)) & (2**bits - 1) for i in range(8)], dim=2)
    return codes.to(torch.uint8).reshape(rows, groups * 8)[:, :cols]
