"""What a latent-variable model is: its sizes, as `config.json` holds them."""

from typing import Any

from transformers import PretrainedConfig

from kbit.errors import ModelError

CELLS = ("transformer", "lstm")
PIECES = ("sentence", "window", "document")


class LatentConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes of encoder, latent space and decoder.

    `latent_size` 0 is a plain language model of the same decoder, without an encoder: what a latent model is
    compared with, and what a GAN's generator begins as.
    """

    model_type = "kbit_latent"

    def __init__(
        self,
        vocab_size: int = 2048,
        hidden_size: int = 128,
        num_hidden_layers: int = 2,
        encoder_layers: int = 2,
        num_attention_heads: int = 4,
        intermediate_size: int = 384,
        latent_size: int = 32,
        prior_components: int = 1,
        cell: str = "transformer",
        pieces: str = "sentence",
        max_position_embeddings: int = 64,
        **rest: Any,
    ) -> None:
        """Hold the sizes.

        Args:
            vocab_size: tokens.
            hidden_size: width of both halves.
            num_hidden_layers: of the decoder.
            encoder_layers: of the encoder; not used where `latent_size` is 0.
            num_attention_heads: of a Transformer layer.
            intermediate_size: of a Transformer layer's feed-forward part.
            latent_size: dimensions of z.
            prior_components: 1 for the standard normal; more for a learnt mixture of so many normals.
            cell: `transformer` or `lstm`.
            pieces: how documents are cut into the texts that have a vector each (see `pieces`).
            max_position_embeddings: tokens of a piece, the begin and the end among them.
            rest: what every Transformers config has.

        Raises:
            ModelError: a value out of range.
        """
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.encoder_layers = encoder_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.latent_size = latent_size
        self.prior_components = prior_components
        self.cell = cell
        self.pieces = pieces
        self.max_position_embeddings = max_position_embeddings
        rest.setdefault("tie_word_embeddings", True)
        super().__init__(**rest)
        self._check()

    def _check(self) -> None:
        rules = [
            (self.cell in CELLS, "cell", self.cell, " or ".join(CELLS)),
            (self.pieces in PIECES, "pieces", self.pieces, ", ".join(PIECES)),
            (self.latent_size >= 0, "latent_size", self.latent_size, "0 (a plain language model) or more"),
            (self.prior_components >= 1, "prior_components", self.prior_components, "1 or more"),
            (
                self.max_position_embeddings >= 4,
                "max_position_embeddings",
                self.max_position_embeddings,
                "4 or more",
            ),
            (
                min(self.vocab_size, self.hidden_size, self.num_hidden_layers, self.intermediate_size) > 0
                and (self.latent_size == 0 or self.encoder_layers > 0),
                "a size",
                (self.vocab_size, self.hidden_size, self.num_hidden_layers, self.intermediate_size),
                "above 0",
            ),
            (
                self.num_attention_heads > 0 and self.hidden_size % self.num_attention_heads == 0,
                "num_attention_heads",
                self.num_attention_heads,
                f"a divisor of hidden_size {self.hidden_size}",
            ),
        ]
        for holds, key, given, allowed in rules:
            if not holds:
                raise ModelError(f"a latent model's {key} is {given!r}; it must be {allowed}.")
