"""Models at formats: each a subject, with what is asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kbit.coders.language_model import LanguageModelCoder
from kbit.coders.latent import DEFAULT_SAMPLES, LatentCoder
from kbit.errors import FormatError, StudyError, UsageError
from kbit.formats import WeightFormat, parse_format
from kbit.information import Divergence
from kbit.models import stored_bits
from kbit.models.record import Method
from kbit.quantize import METHODS
from kbit.quantize.method import method_named
from kbit.quantize.plan import Choice
from kbit.store import Labels, Probe, Subject
from kbit.study.generated import GenerationPlan, generated_tasks
from kbit.study.models import ModelFacts
from kbit.study.study import Study
from kbit.study.task import AGAINST_METRICS, ALGORITHM, TEXT_METRICS, ModelSource, SubjectPlan, Task
from kbit.study.texts import Text

KEPT = "16 bits"
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DEVICE = "cpu"
LATENT_ALGORITHM = ALGORITHM | {"latent": LatentCoder.version}
CODER_ALGORITHM = ALGORITHM | {"language-model": LanguageModelCoder.version}
_DIVERGENCE_VERSION: Any = next(f.default for f in fields(Divergence) if f.name == "version")
DIVERGENCE_ALGORITHM = ALGORITHM | {"divergence": int(_DIVERGENCE_VERSION)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTasks:
    """What a study asks of one model: its 16-bit form first, then each k-bit one."""

    tasks: tuple[Task, ...]
    subjects: tuple[SubjectPlan, ...]


def model_tasks(
    study: Study, facts: ModelFacts, texts: Sequence[Text], generation: GenerationPlan | None = None
) -> ModelTasks:
    """The tasks of one model.

    Raises:
        StudyError: a format or a method does not exist or does not fit the model, or two spellings name one
            format.
    """
    against = _subject(study, facts, _reference_source(study, facts))
    tasks: list[Task] = []
    subjects: list[SubjectPlan] = []
    for source in _sources(study, facts):
        subject = _subject(study, facts, source)
        subjects.append(_planned(study, facts, source, subject.labels))
        # Bits of a model with a latent space are bounds on whole pieces: there is no KL token by token.
        latent = facts.pieces is not None
        compared = study.against_16_bit and source.format != facts.reference and not latent
        for text in texts:
            asked: dict[str, Any] = {
                "text": text.hash,
                "text_name": text.name,
                "settings": _settings(facts, source),
            }
            probes: list[tuple[Probe, tuple[str, ...]]] = [
                (
                    Probe(kind="text", algorithm=LATENT_ALGORITHM if latent else CODER_ALGORITHM, **asked),
                    TEXT_METRICS,
                )
            ]
            if compared:
                probe = Probe(kind="against", algorithm=DIVERGENCE_ALGORITHM, against=against, **asked)
                probes.append((probe, AGAINST_METRICS))
            tasks += [
                Task(
                    subject=subject,
                    probe=probe,
                    metrics=metrics,
                    source=source,
                    text=text,
                    group=f"model {facts.content}",
                )
                for probe, metrics in probes
            ]
        if generation is not None and latent:
            raise StudyError(
                f"{study.file}: {facts.name} has a latent space, and studies generate from models that read "
                "tokens only. Leave [generation] out, or write its texts with `kbit latent sample`."
            )
        if generation is not None:
            settings, group = _settings(facts, source), f"model {facts.content}"
            tasks += generated_tasks(generation, subject, source, settings, group)
    return ModelTasks(tasks=tuple(tasks), subjects=tuple(subjects))


def _reference_source(study: Study, facts: ModelFacts) -> ModelSource:
    if facts.stored_as is not None:
        return _foreign_source(study, facts, facts.stored_as)
    return _source(study, facts, parse_format(facts.reference))


def _foreign_source(study: Study, facts: ModelFacts, stored_as: str) -> ModelSource:
    """Another tool's model as it is stored."""
    context = study.context or facts.context
    return ModelSource(
        path=str(facts.path),
        format=stored_as,
        embeddings=stored_as,
        head=stored_as,
        method=None,
        reference=stored_as,
        dtype=study.dtype,
        context=context,
        stride=study.stride or max(1, context // 2),
        batch_size=study.batch_size,
    )


def _sources(study: Study, facts: ModelFacts) -> list[ModelSource]:
    if facts.stored_as is not None:
        return [_foreign_source(study, facts, facts.stored_as)]
    found: dict[str, str] = {}
    formats = []
    for given in study.formats:
        fmt = _format(study, given, "formats")
        if str(fmt) in found:
            raise StudyError(f"{study.file}: {found[str(fmt)]} and {given} are one format, {fmt}. Name one.")
        found[str(fmt)] = given
        formats.append(fmt)
    for name in study.methods:
        try:
            method_named(name)
        except UsageError as error:
            raise StudyError(f"{study.file}: methods: {error}") from error
    # The 16-bit model first: it is loaded anyway, to compare the others with.
    formats.sort(key=lambda fmt: str(fmt) != facts.reference)
    return [
        _source(study, facts, fmt, method=method)
        for fmt in formats
        for method in (study.methods if fmt.is_packed else [None])
    ]


def _source(study: Study, facts: ModelFacts, fmt: WeightFormat, *, method: str | None = None) -> ModelSource:
    context = study.context or facts.context
    embeddings = _beside(study, study.embeddings, "embeddings", fmt)
    return ModelSource(
        path=str(facts.path),
        format=str(fmt),
        embeddings=embeddings,
        head=embeddings if facts.tied else _beside(study, study.head, "head", fmt),
        method=method,
        reference=facts.reference,
        dtype=study.dtype,
        context=context,
        stride=study.stride or max(1, context // 2),
        batch_size=study.batch_size,
    )


def _beside(study: Study, given: str | None, key: str, body: WeightFormat) -> str | None:
    """The format of embeddings or head: the body's own where that is not packed."""
    if not body.is_packed:
        return str(body)
    return None if given is None else str(_format(study, given, key))


def _subject(study: Study, facts: ModelFacts, source: ModelSource) -> Subject:
    return subject_from(facts, source, asked_by=str(study.file))


def subject_from(facts: ModelFacts, source: ModelSource, *, asked_by: str) -> Subject:
    """A 16-bit model at the format of a source, as a subject.

    Raises:
        StudyError: the format does not fit it; `asked_by` begins the message.
    """
    method = METHODS[source.method] if source.method else None
    format_bits = None if facts.stored_as else parse_format(source.format).bits
    try:
        bits = stored_bits(facts.path) if facts.stored_as else facts.stored_bits(_choice(source))
    except UsageError as error:
        raise StudyError(f"{asked_by}: {facts.name} at {source.format}: {error}") from error
    return Subject(
        kind="model",
        content=facts.content,
        formats={
            "linear": source.format,
            "embedding": source.embeddings or KEPT,
            "head": source.head or KEPT,
        },
        methods={"linear": {"name": method.name}} if method else {},
        numerics={"activations": source.dtype, "device": DEVICE},
        algorithm={method.name: method.version} if method else {},
        labels=Labels(
            name=facts.name,
            family=facts.family,
            format=source.format,
            format_bits=format_bits,
            method=source.method,
            parameters=facts.parameters,
            parameters_body=facts.parameters_body,
            weights=bits.weights,
            weights_body=bits.body_weights,
            stored_bits=bits.whole,
            stored_bits_body=bits.body,
            stored_bits_embeddings=bits.embeddings,
            architecture=facts.architecture,
        ),
    )


def _choice(source: ModelSource) -> Choice:
    method = METHODS[source.method] if source.method else None
    return Choice(
        format=parse_format(source.format),
        embeddings=parse_format(source.embeddings) if source.embeddings else None,
        head=parse_format(source.head) if source.head else None,
        method=Method(name=method.name, version=method.version) if method else Method(name="none", version=0),
    )


def _planned(study: Study, facts: ModelFacts, source: ModelSource, labels: Labels) -> SubjectPlan:
    dense_bytes = facts.parameters * DTYPE_BYTES[source.dtype]
    stored_bytes = -(-(labels.stored_bits or 0) // 8)
    # Codes stay packed in memory, what is not packed is in the activations' type.
    own_bytes = stored_bytes if source.method else dense_bytes
    beside = study.against_16_bit and source.format != facts.reference
    body, weights = labels.stored_bits_body, labels.weights_body
    return SubjectPlan(
        model=facts.name,
        format=source.format,
        method=source.method,
        parameters=facts.parameters,
        stored_bytes=stored_bytes,
        body_bits_per_weight=body / weights if body is not None and weights else None,
        peak_memory_bytes=own_bytes + (dense_bytes if beside else 0),
    )


def _settings(facts: ModelFacts, source: ModelSource) -> Mapping[str, Any]:
    if facts.pieces is not None:
        return {
            "pieces": facts.pieces,
            "context": facts.context,
            "tokenizer": facts.tokenizer,
            "bound": "importance-weighted",
            "samples": DEFAULT_SAMPLES,
        }
    return {
        "context": source.context,
        "stride": source.stride,
        "tokenizer": facts.tokenizer,
        "prefix": "begin of text, else end of text",
        "repeat_prefix": True,
    }


def _format(study: Study, text: str, key: str) -> WeightFormat:
    try:
        return parse_format(text)
    except FormatError as error:
        raise StudyError(f"{study.file}: {key}: {error}") from error
