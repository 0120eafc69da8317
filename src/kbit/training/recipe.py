"""A recipe: the text, the tokeniser, the family of models and the schedule, as one TOML file says it."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPart:
    """Where the text comes from and what is held out.

    `source = "stdlib"` is what the running Python carries; otherwise `paths` are read as `kbit.corpus` reads
    them, near duplicates removed, and split by hash of their names. Of long held-out documents (books),
    pieces of `held_out_piece_bytes` spread evenly over all can stand for the whole, `held_out_bytes` in all
    (0: everything, uncut).
    """

    source: str = "paths"
    paths: tuple[str, ...] = ()
    held_out_share: float = 0.07
    held_out_bytes: int = 0
    held_out_piece_bytes: int = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerPart:
    """Size of the byte-fallback BPE: tokens in all, and characters that have a token."""

    vocabulary: int = 2048
    alphabet: int = 97


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPart:
    """What all rungs share. `context` is in tokens; `key_value_groups` query heads share a key head.

    `aspect` is hidden width over layers where a rung gives `body_parameters` instead of a shape.
    `residual_init` is how matrices that write to the residual stream start: at `zero`, so that every layer
    begins as the identity (Zhang et al. 2019, Fixup; seen here to learn markedly faster), or `scaled` down by
    (2 x layers) ** -0.5 as in GPT-2.
    """

    architecture: str = "llama"
    context: int = 512
    head_width: int = 32
    key_value_groups: int = 1
    rope_theta: float = 10_000.0
    aspect: float = 48.0
    residual_init: str = "zero"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPart:
    """Optimiser and schedule. Shares are of the steps; `learning_rate` holds at width `reference_hidden`."""

    batch_windows: int = 16
    accumulation: int = 1
    learning_rate: float = 6e-3
    reference_hidden: int = 128
    warmup_share: float = 0.03
    decay_share: float = 0.4
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    checkpoint_steps: int = 100
    compile: bool = True
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One model of the family: widths, depth, and the number of tokens it is trained on.

    `branches` are smaller token counts: the learning rate is decayed towards them too, on side branches of
    the one run, so several token counts cost little more than the largest (Hu et al. 2024, section 4.3).
    """

    name: str
    hidden: int
    layers: int
    intermediate: int
    tokens: int
    branches: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides the weights, but for the versions of the libraries and the text itself."""

    name: str
    rungs: tuple[Rung, ...]
    seed: int = 0
    text: TextPart = TextPart()
    tokenizer: TokenizerPart = TokenizerPart()
    model: ModelPart = ModelPart()
    training: TrainingPart = TrainingPart()

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's values, 64 hexadecimal digits; comments and order do not count."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
