"""A measurement: subject x probe -> metric as numerator and denominator, with its parts by document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbit.errors import StoreError

# Columns of an exported row that tell how much memory a model needs while it generates.
ARCHITECTURE = (
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "max_context",
    "sliding_window",
    "sliding_layers",
    "shared_kv_layers",
    "core_step",
)
Status = Literal["ok", "failed", "refused"]
STATUSES: tuple[Status, ...] = ("ok", "failed", "refused")


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What is told of a subject but does not make it another one: names, and figures that follow from it.

    Attributes:
        name: what people call it: `rung-3`, `kneser-ney-6`.
        family: models that differ in size only share it.
        format: the format of the body's weights, as written: `nf4:b64`.
        format_bits: k, the bits of one code of that format.
        method: how the codes were chosen.
        parameters: all weights of the model, a tied tensor once; `parameters_body`: without embeddings
            and head.
        weights: weights whose storage `stored_bits` counts; `weights_body` those of the body.
        stored_bits: exact, as on disk, whole; `_body` and `_embeddings` (with head) its two parts.
        architecture: sizes that memory for generation follows from, by the names in `ARCHITECTURE`.
    """

    name: str
    family: str | None = None
    format: str | None = None
    format_bits: float | None = None
    method: str | None = None
    parameters: int | None = None
    parameters_body: int | None = None
    weights: int | None = None
    weights_body: int | None = None
    stored_bits: int | None = None
    stored_bits_body: int | None = None
    stored_bits_embeddings: int | None = None
    architecture: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is measured.

    Attributes:
        kind: a language model, or a coder that is a baseline.
        content: content hash of the model before it was quantised; of a coder, that of the text it was fitted
            on, or None if it was fitted on none.
        coder: the name of a baseline coder; None for a model.
        formats: role or layer name -> weight format; a layer's name wins over its role's.
        methods: role or layer name -> how codes were chosen, with seed, calibration text and options.
        numerics: data type of the activations, their bits, device class.
        algorithm: name -> version of what makes the subject.
        labels: what is told, but identifies nothing.
    """

    kind: Literal["model", "coder"]
    content: str | None
    coder: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, Any] = field(default_factory=dict)
    numerics: Mapping[str, Any] = field(default_factory=dict)
    algorithm: Mapping[str, int] = field(default_factory=dict)
    labels: Labels

    def identifying(self) -> dict[str, Any]:
        """What makes it this subject, in JSON's types."""
        return {
            "kind": self.kind,
            "content": self.content,
            "coder": self.coder,
            "formats": dict(self.formats),
            "methods": dict(self.methods),
            "numerics": dict(self.numerics),
            "algorithm": dict(self.algorithm),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What is asked of a subject.

    Attributes:
        kind: code lengths of a text, a comparison with another subject on a text, what the subject
            generates after the beginnings of a text's documents, compared with how they go on, or a task.
        text: content hash of the text's documents; of a task, hash of its items in their order.
        settings: what of the coder changes the figure: context, stride, the rule for the prefix.
        against: the subject compared with; None for code lengths.
        algorithm: name -> version of what measures.
        text_name: what people call the text; identifies nothing.
    """

    kind: Literal["text", "against", "generated", "task"]
    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    against: Subject | None = None
    algorithm: Mapping[str, int] = field(default_factory=dict)
    text_name: str

    def identifying(self) -> dict[str, Any]:
        """What makes it this probe, in JSON's types."""
        return {
            "kind": self.kind,
            "text": self.text,
            "settings": dict(self.settings),
            "against": self.against.identifying() if self.against else None,
            "algorithm": dict(self.algorithm),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One document's share of a metric: sums, never ratios.

    Attributes:
        document: its name.
        numerator: for code lengths, bits.
        denominator: for code lengths, bytes.
        bytes: UTF-8 bytes of the document; `characters` its code points.
        tokens: tokens scored; None where there are none.
        bytes_lost: bytes a tokeniser does not give back; None where not known.
    """

    document: str
    numerator: float
    denominator: float
    bytes: int
    characters: int
    tokens: int | None = None
    bytes_lost: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What a measurement took. None where it was not observed."""

    wall_s: float | None = None
    peak_memory_bytes: int | None = None
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A row of the store, with its parts.

    Attributes:
        metric: `bits_per_byte`, `kl_bits_per_byte`, `top1_agreement`, …
        numerator: sum over the parts; None unless the status is ok. So is the denominator.
        status: ok, failed (something broke) or refused (kbit itself said no, for the reason given).
        reason: why there is no figure; None when there is one.
        versions: package -> version.
        created_at: ISO 8601, UTC; set by the store when it is written.
    """

    subject: Subject
    probe: Probe
    metric: str
    numerator: float | None = None
    denominator: float | None = None
    status: Status = "ok"
    reason: str | None = None
    parts: tuple[Part, ...] = ()
    costs: Costs = Costs()
    versions: Mapping[str, str] = field(default_factory=dict)
    created_at: str | None = None

    def __post_init__(self) -> None:
        """Refuse a row that would say something it does not know."""
        if self.status not in STATUSES:
            raise StoreError(f"status {self.status!r} does not exist; allowed: {', '.join(STATUSES)}.")
        has_figure = self.numerator is not None and self.denominator is not None
        if self.status == "ok" and not (has_figure and self.reason is None):
            raise StoreError(
                f"{self.metric} of {self.subject.labels.name}: an ok measurement has numerator and "
                "denominator and no reason. Without a figure, give status 'failed' or 'refused' and a reason."
            )
        if self.status != "ok" and (
            self.numerator is not None or self.denominator is not None or not self.reason or self.parts
        ):
            raise StoreError(
                f"{self.metric} of {self.subject.labels.name}: a {self.status} measurement has a reason, "
                "and neither figures nor parts. Leave them out."
            )
