"""A task: what it is, how its files are read and asked, what it is judged by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from kbit.tasks.baselines import Baseline
from kbit.tasks.metrics.metric import Metric
from kbit.tasks.raw import Raw, Reading
from kbit.tasks.readers.records import Layout

Form = Literal["write", "reply", "label", "pair", "harness", "program", "cluster"]
"""`write`: an answer is written. `reply`: written, and bits of the human one measured. `label`: the likeliest
of the classes' words. `pair`: the likelier of two texts. `harness`: lm-evaluation-harness asks. `program`:
programs are written and run. `cluster`: texts are put together without labels."""

Reader: TypeAlias = Callable[[Sequence[Path], Reading], list[Raw] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One row of the table of tasks.

    Attributes:
        name: as it is asked for.
        what: it is, in a few words.
        form: how it is asked.
        metrics: what answers are judged by, the headline first.
        baselines: trivial answers that stand beside.
        readers: of files that are no records; tried in order. `layouts` of records that are none of ours.
            Files of the form of `kbit finetune` are read besides.
        templates: language -> prompt, with {text}, {question}, {from}, {to}; `en` for others.
        words: language -> label -> what the model is to say for it.
        max_new_tokens: of an answer.
        harness: how the harness asks; None for tasks that kbit asks itself.
        files: what files it reads, for people.
        version: raised whenever the same files would give other figures.
    """

    name: str
    what: str
    form: Form
    metrics: tuple[Metric, ...]
    baselines: tuple[Baseline, ...]
    readers: tuple[Reader, ...] = ()
    layouts: tuple[Layout, ...] = ()
    templates: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    max_new_tokens: int = 0
    harness: "HarnessForm | None" = None
    files: str = ""
    version: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HarnessForm:
    """How lm-evaluation-harness asks, as in its own task of that name.

    Attributes:
        task: its name there; `output_type` there.
        text: template of the prompt over the fields `text`, `question`.
        choices: fixed ones; those of the item where empty.
        contexts: the item's choices stand before its continuation (WinoGrande) and not after its prompt.
        metrics: as the harness calls them.
    """

    task: str
    output_type: Literal["multiple_choice", "loglikelihood"]
    text: str
    choices: tuple[str, ...] = ()
    contexts: bool = False
    metrics: tuple[str, ...] = ("acc", "acc_norm")
