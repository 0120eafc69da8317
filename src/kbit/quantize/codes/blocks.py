"""A matrix as a list of its blocks, one a row: what is done to each block is then done to all at once."""

import torch
from torch import Tensor

from kbit.formats import WeightFormat


def to_blocks(values: Tensor, fmt: WeightFormat) -> Tensor:
    """The blocks of a matrix in the order of its scales, padded with zeros to one length.

    Args:
        values: [rows, cols].
        fmt: whose block is meant.

    Returns:
        [blocks, longest block].
    """
    rows, cols = values.shape
    if fmt.block == "tensor":
        return values.reshape(1, -1)
    if fmt.block == "row":
        return values
    block = int(fmt.block)
    if fmt.flat:
        return torch.nn.functional.pad(values.reshape(-1), (0, -rows * cols % block)).view(-1, block)
    return torch.nn.functional.pad(values, (0, -cols % block)).reshape(-1, block)
