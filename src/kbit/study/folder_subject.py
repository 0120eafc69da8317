"""A model folder as the subject of a measurement that no study planned."""

from collections import Counter
from pathlib import Path

from kbit.errors import FormatError, UsageError
from kbit.formats import parse_format
from kbit.models import ModelFolder, cache_facts, open_model, stored_bits
from kbit.models.locate import SHIPPED
from kbit.store import Labels, Subject
from kbit.study.models import ModelFacts, facts_of, family_of
from kbit.study.subjects import DEVICE, KEPT, subject_from
from kbit.study.task import ModelSource

NEAREST = "nearest"


def folder_subject(
    path_or_id: str, *, dtype: str, weight_format: str | None = None, family: str | None = None
) -> Subject:
    """The subject that a folder is.

    A 16-bit folder, at its own or another format, is the subject that a study makes of it. A k-bit folder is
    one of its own: it does not tell which 16-bit model it was made of. So is an adapter with its model.

    Args:
        path_or_id: a folder or hub id.
        dtype: of the activations: float32, bfloat16.
        weight_format: to which a 16-bit folder is quantised, by the nearest code.
        family: of the model; told from its name where None.

    Raises:
        ModelError: no such folder, or a broken one.
        UsageError: a k-bit folder is to be quantised.
    """
    folder = open_model(path_or_id)
    local = Path(path_or_id).exists() or path_or_id.startswith(SHIPPED)
    name = (
        (folder.path.stem if folder.path.is_file() else folder.path.resolve().name) if local else path_or_id
    )
    adapted = getattr(folder, "adapter", None) is not None
    if folder.records or adapted:
        if weight_format is not None:
            what = "an adapter beside its model" if adapted else "a k-bit model already"
            raise UsageError(f"{path_or_id} is {what}. Give a 16-bit model of its own to --format.")
        return _packed(folder, name, dtype, family)
    facts = facts_of(folder, name, family=family)
    if facts.stored_as is not None:
        if weight_format is not None:
            raise UsageError(f"{path_or_id} is quantised already ({facts.stored_as}). Give its original.")
        return subject_from(facts, _as_stored(facts, dtype), asked_by=path_or_id)
    fmt = parse_format(weight_format or facts.reference)
    source = ModelSource(
        path=str(folder.path),
        format=str(fmt),
        embeddings=None if fmt.is_packed else str(fmt),
        head=None if fmt.is_packed else str(fmt),
        method=NEAREST if fmt.is_packed else None,
        reference=facts.reference,
        dtype=dtype,
        context=facts.context,
        stride=max(1, facts.context // 2),
        batch_size=None,
    )
    return subject_from(facts, source, asked_by=path_or_id)


def _as_stored(facts: ModelFacts, dtype: str) -> ModelSource:
    """Another tool's model as a source."""
    stored_as = facts.reference
    return ModelSource(
        path=str(facts.path),
        format=stored_as,
        embeddings=stored_as,
        head=stored_as,
        method=None,
        reference=stored_as,
        dtype=dtype,
        context=facts.context,
        stride=max(1, facts.context // 2),
        batch_size=None,
    )


def _packed(folder: ModelFolder, name: str, dtype: str, family: str | None) -> Subject:
    bits = stored_bits(folder.path)
    body = Counter(str(r.format) for r in folder.records.values() if r.role == "linear")
    most = body.most_common(1)[0][0] if body else None
    methods = {r.method.name: r.method.version for r in folder.records.values()}
    return Subject(
        kind="model",
        content=folder.content_hash,
        formats={role: _one(folder, role) for role in ("linear", "embedding", "head")},
        methods={"linear": {"name": "+".join(sorted(methods))}} if methods else {},
        numerics={"activations": dtype, "device": DEVICE},
        algorithm=methods,
        labels=Labels(
            name=name,
            family=family or family_of(name),
            format=most or KEPT,
            format_bits=_bits(most),
            method="+".join(sorted(methods)) or None,
            parameters=folder.parameters,
            parameters_body=folder.body_parameters,
            weights=bits.weights,
            weights_body=bits.body_weights,
            stored_bits=bits.whole,
            stored_bits_body=bits.body,
            stored_bits_embeddings=bits.embeddings,
            architecture=cache_facts(folder.config),
        ),
    )


def _one(folder: ModelFolder, role: str) -> str:
    found = sorted({str(r.format) for r in folder.records.values() if r.role == role})
    return ", ".join(found) or KEPT


def _bits(fmt: str | None) -> float | None:
    try:
        return parse_format(fmt).bits if fmt else None
    except FormatError:
        return None
