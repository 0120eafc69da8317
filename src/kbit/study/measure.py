"""Carrying tasks out here: models are loaded, quantised and read the text."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from kbit.coders import CodeLengths, Coder, baseline
from kbit.errors import StudyError
from kbit.store import Costs, Part
from kbit.study.build import ModelShelf
from kbit.study.generated import measure_generated
from kbit.study.memory import peak_memory_bytes, reset_peak
from kbit.study.task import CoderSource, Measured, ModelSource, Task
from kbit.study.workspace import workspace

if TYPE_CHECKING:
    from kbit.information import Divergence


class Measurer:
    """Measures tasks one by one; keeps what the next task is likely to need.

    That is a 16-bit model, one k-bit model beside it, one fitted baseline and one scorer: tasks come in
    such an order that each is made once. To be used as a context: the folder for k-bit models goes at its
    end.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._shelf: ModelShelf | None = None
        self._coder: tuple[CoderSource, Coder] | None = None
        self._scored_by: tuple[ModelSource | CoderSource, Coder] | None = None

    def __enter__(self) -> Self:
        self._shelf = ModelShelf(self._stack.enter_context(workspace()))
        return self

    def __exit__(self, *_: object) -> None:
        self._shelf = None
        self._stack.close()

    def __call__(self, task: Task) -> Measured:
        """Measure one task.

        Raises:
            KbitError: the model, format or coder cannot do what is asked.
        """
        if isinstance(task.source, CoderSource):
            coder = self._baseline(task.source)
            return _timed(lambda: _text_parts(list(coder.code_lengths(task.text.documents))))
        if self._shelf is None:
            raise StudyError("a Measurer works within `with Measurer() as measure:`.")
        shelf, source = self._shelf, task.source
        if task.generating is None:
            _check_unseen(task, source)
        model, tokenizer = shelf.model(source), shelf.tokenizer(source)
        if task.generating is not None:
            return _timed(lambda: measure_generated(task, model, tokenizer, self._scorer))
        if task.probe.against is None:
            return _timed(lambda: _code_lengths(task, source, model, tokenizer))
        reference = shelf.reference(source)
        return _timed(lambda: _divergence(task, source, model, reference, tokenizer))

    def _scorer(self, source: ModelSource | CoderSource) -> Coder:
        """What scores generated text: kept, because every task of a study has the same."""
        if self._scored_by is None or self._scored_by[0] != source:
            self._scored_by = None
            if isinstance(source, CoderSource):
                coder = baseline(source.name, source.text.documents if source.text else None)
            else:
                coder = scorer_of(source)
            self._scored_by = source, coder
        return self._scored_by[1]

    def _baseline(self, source: CoderSource) -> Coder:
        if self._coder is None or self._coder[0] != source:
            self._coder = None  # the old one goes before the new one is fitted
            self._coder = source, baseline(source.name, source.text.documents if source.text else None)
        return self._coder[1]


def _check_unseen(task: Task, source: ModelSource) -> None:
    """Refuse text that a folder was calibrated on: its figures would flatter it."""
    from kbit.models.locate import locate
    from kbit.quantize.calibration.seen import calibration_documents, check_unseen

    option = "`kbit measure --allow-calibration-text`, one model at a time"
    check_unseen(
        calibration_documents(locate(source.path)), task.text.documents, allowed=False, option=option
    )


def scorer_of(source: ModelSource) -> Coder:
    """A model as it is stored, as a coder."""
    import torch

    from kbit.models import load, load_tokenizer

    model = load(source.path, dtype=getattr(torch, source.dtype))
    return _coder(model, load_tokenizer(source.path), source, source.path)


def _coder(model: object, tokenizer: object, source: ModelSource, name: str) -> Coder:
    from kbit.coders.of_model import coder_of
    from kbit.models.latent import is_latent

    if is_latent(model):
        return coder_of(model, tokenizer, name=name)
    return coder_of(
        model,
        tokenizer,
        name=name,
        context=source.context,
        stride=source.stride,
        batch_size=source.batch_size,
    )


def _code_lengths(
    task: Task, source: ModelSource, model: object, tokenizer: object
) -> Mapping[str, Sequence[Part]]:
    coder = _coder(model, tokenizer, source, task.subject.labels.name)
    return _text_parts(list(coder.code_lengths(task.text.documents)))


def _divergence(
    task: Task, source: ModelSource, model: object, reference: object, tokenizer: object
) -> Mapping[str, Sequence[Part]]:
    from kbit.information import divergence

    found: Divergence = divergence(
        model,
        reference,
        tokenizer,
        task.text.documents,
        context=source.context,
        stride=source.stride,
        batch_size=source.batch_size,
    )

    def parts(figure: Callable[[int], tuple[float, float]]) -> tuple[Part, ...]:
        return tuple(
            Part(
                document=document.name,
                numerator=figure(i)[0],
                denominator=figure(i)[1],
                bytes=document.bytes,
                characters=document.characters,
                tokens=found.documents[i].tokens,
            )
            for i, document in enumerate(task.text.documents)
        )

    of = found.documents
    return {
        "kl_bits_per_byte": parts(lambda i: (of[i].kl_bits, of[i].bytes)),
        "top1_agreement": parts(lambda i: (of[i].agreed, of[i].tokens)),
    }


def _text_parts(lengths: Sequence[CodeLengths]) -> Mapping[str, Sequence[Part]]:
    return {
        "bits_per_byte": tuple(
            Part(
                document=c.document,
                numerator=c.bits,
                denominator=c.bytes,
                bytes=c.bytes,
                characters=c.characters,
                tokens=c.tokens,
                bytes_lost=c.bytes_lost,
            )
            for c in lengths
        )
    }


def _timed(measure: Callable[[], Mapping[str, Sequence[Part]]]) -> Measured:
    """What a measurement gives and takes; loading and quantising are not counted."""
    import torch

    observed = reset_peak()
    begun = time.perf_counter()
    parts = measure()
    return Measured(
        parts=parts,
        costs=Costs(
            wall_s=time.perf_counter() - begun,
            peak_memory_bytes=peak_memory_bytes() if observed else None,
            device="cpu",
            threads=torch.get_num_threads(),
        ),
    )
