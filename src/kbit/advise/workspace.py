"""What the product with packed weights needs beside its input and output, from the table of kernels."""

from functools import cache

PROMPT_ROWS = 512
DECODED_BYTES = 2  # a kernel that decodes holds weights in the activations' 16 bits


@cache
def kernel_bytes(fmt: str, *, largest_matrix: int, device: str = "cpu") -> int:
    """Workspace of the kernel that serves a format with 16-bit activations.

    Args:
        fmt: such as `nf4:b64`.
        largest_matrix: weights of the model's largest linear layer.
        device: where it runs.

    Returns:
        Bytes: what the kernel states, and no more than the largest matrix, decoded; 0 for a format that is
        not packed or not known here.
    """
    import torch

    from kbit.errors import FormatError
    from kbit.formats import parse_format
    from kbit.kernels import kernel_for

    try:
        parsed = parse_format(fmt)
    except FormatError:
        return 0
    if not parsed.is_packed:
        return 0
    # of one row, and of a prompt, which another kernel may serve
    stated = max(
        kernel_for(parsed, device=device, dtype=torch.bfloat16, rows=rows).workspace_bytes
        for rows in (1, PROMPT_ROWS)
    )
    return min(stated, DECODED_BYTES * largest_matrix)
