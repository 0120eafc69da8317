"""Codes to a little-endian bit stream and back: code i of a row is bits k*i to k*i+k-1."""

import torch
from torch import Tensor

from kbit.formats.size import CODES_PER_GROUP, row_bytes


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack codes.

    Args:
        codes: uint8 [rows, cols], each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8 [rows, row_bytes(cols, bits)]; padding is zero.
    """
    rows, cols = codes.shape
    groups = -(-cols // CODES_PER_GROUP) * CODES_PER_GROUP // 8
    padded = torch.zeros(rows, groups * 8, dtype=torch.uint8, device=codes.device)
    padded[:, :cols] = codes
    eight = padded.view(rows, groups, 8).to(torch.int64)
    word = torch.zeros(rows, groups, dtype=torch.int64, device=codes.device)
    for i in range(8):
        word |= eight[:, :, i] << (bits * i)
    out = torch.stack([(word >> (8 * b)) & 255 for b in range(bits)], dim=2)
    return out.to(torch.uint8).view(rows, row_bytes(cols, bits))


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
    eight = packed.reshape(rows, -1, bits).to(torch.int64)
    word = torch.zeros(eight.shape[:2], dtype=torch.int64, device=packed.device)
    for b in range(bits):
        word |= eight[:, :, b] << (8 * b)
    out = torch.stack([(word >> (bits * i)) & (2**bits - 1) for i in range(8)], dim=2)
    return out.to(torch.uint8).reshape(rows, -1)[:, :cols]
