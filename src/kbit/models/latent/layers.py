"""Layers of both halves: Transformer blocks, and an LSTM whose matrices are ordinary linear layers.

PyTorch's own LSTM keeps its matrices in parameters that no quantiser sees; here they are `nn.Linear`, so a
recurrent model goes to k bits as any other does.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kbit.models.latent.config import LatentConfig

State = list[tuple[Tensor, Tensor]]
"""Of an LSTM, by layer: output and cell, each [texts, hidden]."""


class Attention(nn.Module):
    """Self-attention of all heads, causal or not."""

    def __init__(self, config: LatentConfig, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = config.num_attention_heads, causal
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[texts, tokens, hidden] to the same; `mask` [texts, tokens] is True where a token is read."""
        texts, tokens, width = x.shape
        q, k, v = (
            self.qkv_proj(x).view(texts, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        # In a causal model padding stands after the text, where no token of the text looks.
        keep = None if mask is None or self.causal else mask[:, None, None, :]
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=keep, is_causal=self.causal)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(texts, tokens, width))
        return out


class Block(nn.Module):
    """A pre-norm Transformer layer with SwiGLU."""

    def __init__(self, config: LatentConfig, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        self.attention = Attention(config, causal=causal)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[texts, tokens, hidden] to the same."""
        x = x + self.attention(self.attention_norm(x), mask)
        y = self.mlp_norm(x)
        out: Tensor = x + self.down_proj(functional.silu(self.gate_proj(y)) * self.up_proj(y))
        return out


class Lstm(nn.Module):
    """One LSTM layer (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.input_proj = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.state_proj = nn.Linear(config.hidden_size, 4 * config.hidden_size, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read tokens one after the other.

        Args:
            x: [texts, tokens, hidden].
            state: output and cell before the first token, each [texts, hidden].

        Returns:
            Outputs [texts, tokens, hidden], and the state after the last token.
        """
        given = self.input_proj(x)
        h, c = state
        outputs = []
        for position in range(x.shape[1]):
            gates = given[:, position] + self.state_proj(h)
            enter, forget, new, leave = gates.chunk(4, dim=-1)
            c = torch.sigmoid(forget + 1.0) * c + torch.sigmoid(enter) * torch.tanh(new)
            h = torch.sigmoid(leave) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1), (h, c)


class Stack(nn.Module):
    """Layers of one kind, and a norm after the last."""

    def __init__(self, config: LatentConfig, *, layers: int, causal: bool) -> None:
        super().__init__()
        self.recurrent = config.cell == "lstm"
        made = [Lstm(config) if self.recurrent else Block(config, causal=causal) for _ in range(layers)]
        self.layers = nn.ModuleList(made)
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State | None]:
        """Through all layers.

        Args:
            x: [texts, tokens, hidden].
            mask: bool [texts, tokens], True where a token is read; padding stands after the text.
            state: of an LSTM, to go on from; zeros where None.

        Returns:
            [texts, tokens, hidden], and an LSTM's state after the last token.
        """
        if not self.recurrent:
            for layer in self.layers:
                x = layer(x, mask)
            return self.norm(x), None
        zero = x.new_zeros(x.shape[0], x.shape[2])
        after: State = []
        for i, layer in enumerate(self.layers):
            y, last = layer(x, state[i] if state is not None else (zero, zero))
            x = x + y
            after.append(last)
        return self.norm(x), after
