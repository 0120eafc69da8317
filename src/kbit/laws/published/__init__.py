"""Published measurements that the package carries: numbers as facts, each set with its source and licence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.errors import LawError, did_you_mean

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One set: a CSV file beside this one.

    Attributes:
        name: what `--data` takes; the file's name without its ending.
        what: what was measured, in a line.
        rows: how many.
        columns: column -> its unit or meaning.
        example: a fit of it.
        source: paper, and where the numbers were taken from.
        licence: of that place.
    """

    name: str
    what: str
    rows: int
    columns: dict[str, str]
    example: str
    source: str
    licence: str

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / f"{self.name}.csv"


SETS = (
    Published(
        name="gadre-over-training",
        what="losses and errors of 104 models trained far beyond 20 tokens a parameter",
        rows=104,
        columns={
            "model": "name",
            "training_data": "c4_original, rpj or rw_original",
            "params": "parameters",
            "tokens": "tokens",
            "tokens_per_param": "tokens over parameters",
            "loss_nats_c4": "nats per token of C4's validation set",
            "loss_nats_openlm": "nats per token of the OpenLM validation set",
            "error_17_tasks": "average error rate on 17 tasks",
        },
        example="--law over-training --column loss=loss_nats_c4 --where training_data=rpj",
        source="Gadre et al. 2024 (arXiv 2403.08540); github.com/mlfoundations/scaling at a003c491, exp_data",
        licence="MIT",
    ),
    Published(
        name="muennighoff-repeated-data",
        what="losses of 296 runs on data repeated up to hundreds of times",
        rows=296,
        columns={
            "model": "run",
            "params": "parameters",
            "tokens": "tokens",
            "unique_tokens": "tokens, each counted once",
            "loss_nats": "nats per token",
        },
        example="--law data-constrained --column loss=loss_nats",
        source="Muennighoff et al. 2023 (arXiv 2305.16264); github.com/huggingface/datablations at 13701315, "
        "utils/parametric_fit.ipynb",
        licence="Apache-2.0",
    ),
    Published(
        name="qllm-eval-lambada",
        what="LAMBADA accuracy of 29 models with weights in 16, 8, 4, 3 and 2 bits",
        rows=145,
        columns={
            "family": "name",
            "model": "name",
            "params": "parameters, as in the model's name",
            "bits": "bits for each weight",
            "accuracy_percent": "accuracy, percent",
            "stored_bits": "nominal: params · (k + (16 + k) / 128), 16 · params at 16 bits",
        },
        example="--law offset-by-bits --column accuracy=accuracy_percent --where family=OPT",
        source="Li et al. 2024 (arXiv 2402.18158); github.com/thu-nics/qllm-eval at 6d047af2, "
        "demo data of its plots",
        licence="MIT",
    ),
)
BY_NAME = {item.name: item for item in SETS}


def published(name: str) -> Published:
    """The set called `name`.

    Raises:
        LawError: there is none.
    """
    if name not in BY_NAME:
        raise LawError(f"there is no published set {name!r}: {did_you_mean(name, BY_NAME)}")
    return BY_NAME[name]


def listing() -> list[dict[str, Any]]:
    """One row a set, for `kbit ls data`."""
    return [
        {
            "name": item.name,
            "what": item.what,
            "path": str(item.path),
            "rows": item.rows,
            "columns": dict(item.columns),
            "example": f"kbit fit --data {item.name} {item.example}",
            "source": item.source,
            "licence": item.licence,
        }
        for item in SETS
    ]
