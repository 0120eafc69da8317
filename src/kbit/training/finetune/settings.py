"""What a fine-tuning does, and with how much of everything."""

from dataclasses import dataclass, fields
from typing import Any

from kbit.errors import TrainingError, did_you_mean

METHODS, PRECISIONS = ("lora", "full"), ("bf16", "fp32")
IMBALANCE = ("none", "weights", "sampling", "focal")
TOO_LONG = ("error", "cut", "drop")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Everything that decides the weights of a fine-tuned model but the model and the examples.

    Attributes:
        method: `lora` trains small matrices beside frozen layers, which may be packed; `full` every weight.
        rank: of the small matrices; their product is scaled by `alpha / rank`.
        dropout: of their inputs.
        epochs: passes over the examples.
        batch_examples: examples of a step, in `accumulation` parts one after the other.
        learning_rate: the highest, after a warm-up of `warmup_share` of the steps; then it falls to zero.
        clip_norm: gradients longer than this are shortened to it.
        precision: of products, `bf16` or `fp32`; weights that are trained are float32 either way.
        imbalance: of classes: `weights` counts an example by how rare its label is, `sampling` draws labels
            equally often, `focal` counts less what is known well (Lin et al. 2017).
        focal_gamma: how much less.
        longest_tokens: of an example; the model's context where None.
        too_long: longer ones are an `error`, are `cut` (the beginning of what is asked goes) or `drop`ped.
        evaluate_steps: steps from one look at the held-out examples to the next; ten looks where None.
        patience: looks without a better loss after which training stops; 0 never stops early.
        checkpoint_steps: steps from checkpoint to checkpoint, beside those at every look.
        template: what a text to label becomes, `{text}` in it.
    """

    method: str = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    epochs: float = 3.0
    batch_examples: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    precision: str = "bf16"
    imbalance: str = "none"
    focal_gamma: float = 2.0
    longest_tokens: int | None = None
    too_long: str = "error"
    evaluate_steps: int | None = None
    patience: int = 3
    checkpoint_steps: int = 100
    template: str = "{text}\nLabel:"
    seed: int = 0


NOT_IN_LOSSES = ("checkpoint_steps",)


def check_tuning(tuning: Tuning, place: str) -> Tuning:
    """The same settings, if all are in range.

    Args:
        tuning: the settings.
        place: where they were given, for messages.

    Raises:
        TrainingError: one is not.
    """
    words = {"method": METHODS, "precision": PRECISIONS, "imbalance": IMBALANCE, "too_long": TOO_LONG}
    for key, allowed in words.items():
        if getattr(tuning, key) not in allowed:
            given = getattr(tuning, key)
            raise TrainingError(f"{place}: {key} is {given!r}; {did_you_mean(str(given), allowed)}")
    rules: list[tuple[bool, str, str]] = [
        (tuning.rank >= 1, "rank", "1 or more"),
        (tuning.alpha > 0, "alpha", "above 0"),
        (0 <= tuning.dropout < 1, "dropout", "in [0, 1)"),
        (tuning.epochs > 0, "epochs", "above 0"),
        (tuning.batch_examples >= 1, "batch_examples", "1 or more"),
        (
            1 <= tuning.accumulation <= tuning.batch_examples,
            "accumulation",
            f"1 to batch_examples, {tuning.batch_examples}",
        ),
        (tuning.learning_rate > 0, "learning_rate", "above 0"),
        (0 <= tuning.warmup_share < 1, "warmup_share", "in [0, 1)"),
        (tuning.weight_decay >= 0, "weight_decay", "0 or more"),
        (tuning.clip_norm > 0, "clip_norm", "above 0"),
        (tuning.focal_gamma >= 0, "focal_gamma", "0 or more"),
        (tuning.longest_tokens is None or tuning.longest_tokens >= 8, "longest_tokens", "8 or more"),
        (tuning.evaluate_steps is None or tuning.evaluate_steps >= 1, "evaluate_steps", "1 or more"),
        (tuning.patience >= 0, "patience", "0 (never stop early) or more"),
        (tuning.checkpoint_steps >= 1, "checkpoint_steps", "1 or more"),
        ("{text}" in tuning.template, "template", "a text with {text} in it"),
        (tuning.seed >= 0, "seed", "0 or more"),
    ]
    for holds, key, allowed_values in rules:
        if not holds:
            raise TrainingError(f"{place}: {key} is {getattr(tuning, key)!r}; it must be {allowed_values}.")
    return tuning


def tuning_keys() -> dict[str, Any]:
    """Names of all settings with their defaults."""
    return {field.name: field.default for field in fields(Tuning)}
