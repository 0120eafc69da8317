"""An embedding whose table stays packed, and the output layer that is tied to it."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from kbit.formats import decode
from kbit.models.record import LayerRecord
from kbit.models.stored_weight import StoredWeight


class KbitEmbedding(StoredWeight, nn.Embedding):  # type: ignore[override]
    """A look-up that unpacks only the rows asked for.

    Args of the constructor:
        record: [tokens, width] and its format.
        dtype: of the rows it gives; follows casts of the model.
        padding_idx: as in `nn.Embedding`; its row is whatever was coded.
        scaled: the dense module, where it multiplies what it looks up by a constant (Gemma's does).
    """

    def __init__(
        self,
        record: LayerRecord,
        *,
        dtype: torch.dtype | None = None,
        padding_idx: int | None = None,
        scaled: nn.Embedding | None = None,
        device: Any = None,
    ) -> None:
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = record.shape
        self.padding_idx, self.max_norm = padding_idx, None
        self.norm_type, self.scale_grad_by_freq, self.sparse = 2.0, False, False
        self.scaled_type = None if scaled is None else type(scaled)
        self.scale: float | None = None if scaled is None else cast(Any, scaled).scalar_embed_scale
        self.hold(record, device=device)
        # It has no floating parameter to tell it the model's type, so an empty buffer follows casts.
        self.register_buffer("like", torch.empty(0, dtype=dtype, device=device), persistent=False)

    like: Tensor

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name nn.Embedding gives it)
        """Rows [*input.shape, width] in the model's type; each distinct token is unpacked once."""
        if torch.compiler.is_compiling():
            shape = self.record.packed_shape
            parts = self.packed_parameters()
            unpacked: Tensor = torch.ops.kbit.unpack_rows(
                input, *parts, self.format_text, *shape, self.like.dtype
            )
            return self._scaled(unpacked)
        tokens, where = torch.unique(input, return_inverse=True)
        rows = decode(self.packed, self.like.dtype, rows=tokens)
        return self._scaled(rows[where])

    def _scaled(self, rows: Tensor) -> Tensor:
        # The constant is rounded to the rows' type first, as the dense module does.
        return rows if self.scale is None else rows * torch.tensor(self.scale, dtype=rows.dtype)

    def extra_repr(self) -> str:
        """Sizes and format, for `print(model)`."""
        return f"{self.num_embeddings}, {self.embedding_dim}, format={self.record.format}"


class KbitTiedHead(nn.Module):
    """The output layer of a model that ties it to a packed embedding: it owns no weight of its own.

    Args of the constructor:
        embedding: what it multiplies with.
        bias: whether the architecture gives the output layer a bias, which then is its only tensor.
    """

    def __init__(
        self,
        embedding: KbitEmbedding,
        *,
        bias: bool = False,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        # Past nn.Module's registration: a submodule would appear a second time in the state dict.
        object.__setattr__(self, "_embedding", embedding)
        empty = torch.empty(embedding.num_embeddings, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", None if empty is None else nn.Parameter(empty))
        self._is_hf_initialized = True

    _embedding: KbitEmbedding
    bias: nn.Parameter | None

    @property
    def in_features(self) -> int:
        """Width of the model."""
        return self._embedding.embedding_dim

    @property
    def out_features(self) -> int:
        """Tokens in the vocabulary."""
        return self._embedding.num_embeddings

    @property
    def weight(self) -> Tensor:
        """The dense weight, decoded anew at each access (see `StoredWeight.weight`)."""
        return self._embedding.weight

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name nn.Linear gives it)
        """Logits [..., tokens] in the input's type."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return self._embedding.multiply(input, bias)

    def extra_repr(self) -> str:
        """Sizes and what it is tied to, for `print(model)`."""
        record = self._embedding.record
        return f"in_features={self.in_features}, out_features={self.out_features}, tied to {record.name}"
