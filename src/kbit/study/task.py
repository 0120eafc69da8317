"""One planned measurement, with all that is needed to carry it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kbit.store import Costs, Part, Probe, Subject, identity
from kbit.study.texts import Text

# Raised whenever the same subject and probe would give other figures: such rows are measured again.
ALGORITHM = {"measurement": 1}
TEXT_METRICS = ("bits_per_byte",)
AGAINST_METRICS = ("kl_bits_per_byte", "top1_agreement")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """How to make a model that is measured.

    Attributes:
        path: its folder or hub id.
        format: weight format of the body; `embeddings` and `head` theirs, None for 16 bits.
        method: how codes are chosen; None where the format is not packed.
        reference: the format of the 16-bit model it may be compared with.
        dtype: data type of the activations.
        context, stride, batch_size: how the text is read.
    """

    path: str
    format: str
    embeddings: str | None
    head: str | None
    method: str | None
    reference: str
    dtype: str
    context: int
    stride: int
    batch_size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CoderSource:
    """How to make a baseline: its name, and the text it is fitted on if it is."""

    name: str
    text: Text | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Generating:
    """How text is generated, and what it is compared with.

    Attributes:
        scorer: gives the bits of both texts.
        training: references of entropy reduction are made of it; None where the study names no baseline text.
        estimator: of entropy rates.
    """

    temperature: float
    top_k: int
    top_p: float
    seed: int
    samples: int
    prompt_tokens: int
    max_new_tokens: int
    scorer: ModelSource | CoderSource
    training: Text | None
    estimator: str

    @property
    def label(self) -> str:
        """What progress calls it."""
        cuts = [f"top-k {self.top_k}"] if self.top_k else []
        cuts += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        return ", ".join([f"generating at {self.temperature:g}", *cuts, f"seed {self.seed}"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A measurement that a study plans: one identity, one or more metrics.

    Attributes:
        source: how to make the subject.
        text: what is read; of generated text, what prompts are the beginnings of.
        group: tasks that share it are done by one process, one after the other, so that a model is loaded
            once.
        generating: how text is generated, where that is what is measured.
    """

    subject: Subject
    probe: Probe
    metrics: tuple[str, ...]
    source: ModelSource | CoderSource
    text: Text
    group: str
    generating: "Generating | None" = None
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute the identity once: plans compare it often."""
        object.__setattr__(self, "identity", identity(self.subject, self.probe))

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The rows it gives, as identity and metric."""
        return [(self.identity, metric) for metric in self.metrics]

    @property
    def label(self) -> str:
        """What progress calls it."""
        labels = self.subject.labels
        what = " ".join(part for part in (labels.name, labels.format) if part)
        if self.generating is not None:
            return f"{what} {self.generating.label} after {self.text.name}"
        return f"{what} on {self.text.name}" + (" against 16 bits" if self.probe.against else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectPlan:
    """A model at a format, as it is known before it is loaded.

    Attributes:
        stored_bytes: of the k-bit model on disk, from shapes; bits rounded up.
        body_bits_per_weight: stored bits of the body over its weights.
        peak_memory_bytes: of weights while it is measured: the k-bit model, and its 16-bit original beside
            it if the two are compared; working space not counted.
    """

    model: str
    format: str
    method: str | None
    parameters: int
    stored_bytes: int
    body_bits_per_weight: float | None
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What carrying out a task gave: the parts of each metric, by document, and what it took."""

    parts: Mapping[str, Sequence[Part]]
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A task carried out, or the error that kept it from being."""

    task: Task
    measured: Measured | None = None
    error: Exception | None = None
