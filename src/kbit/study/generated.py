"""Generated text in a study: planned from its file, and measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kbit.coders import Coder
from kbit.coders.registry import find_coder
from kbit.corpus import Document
from kbit.errors import CorpusError, StudyError, UsageError
from kbit.information.entropy_rate import find_estimator
from kbit.information.generated.bits import bits_figures
from kbit.information.generated.compare import common_sizes, repetition_figures
from kbit.information.generated.continuation import Continuation
from kbit.information.generated.decoding import Decoding
from kbit.information.generated.figure import Figure, Options, Side
from kbit.information.generated.produce import VERSION, Wanted, human_continuation, make_prompts, produce
from kbit.information.generated.reduction import fragment_figures
from kbit.models import cache_facts, open_model
from kbit.store import Part, Probe, Subject
from kbit.study.models import DEFAULT_CONTEXT, resolved, tokenizer_hash
from kbit.study.study import Study
from kbit.study.task import ALGORITHM, CoderSource, Generating, ModelSource, Task
from kbit.study.texts import Text, text_of

GENERATED_ALGORITHM = ALGORITHM | {"generated": VERSION}
# metric -> the figure it is, and which side of it
METRICS: Mapping[str, tuple[str, Side]] = {
    "generated_cross_entropy": ("cross_entropy", "generated"),
    "human_cross_entropy": ("cross_entropy", "human"),
    "gap": ("cross_entropy", "difference"),
    "decoding_entropy": ("decoding_entropy", "generated"),
    "implausibility": ("implausibility", "generated"),
    "generated_entropy_rate": ("entropy_rate", "generated"),
    "human_entropy_rate": ("entropy_rate", "human"),
    "entropy_reduction_random": ("entropy_reduction_random", "generated"),
    "entropy_reduction_shuffled": ("entropy_reduction_shuffled", "generated"),
    "entropy_reduction_training": ("entropy_reduction_training", "generated"),
    "entropy_reduction_gap": ("entropy_reduction_random", "difference"),
    "rep_4": ("rep_4", "generated"),
    "diversity": ("diversity", "generated"),
    "human_diversity": ("diversity", "human"),
}
OF_TRAINING = {"entropy_reduction_training"}


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPlan:
    """What all generating tasks of a study share.

    Attributes:
        prompts: documents whose beginnings are the prompts.
        base: the settings, at no temperature in particular.
        decodings: (temperature, top_k, top_p, seed) of each task.
        identifying: what of it enters the identity of a measurement.
    """

    prompts: Text
    base: Generating
    decodings: tuple[tuple[float, int, float, int], ...]
    identifying: Mapping[str, Any]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of each task."""
        return tuple(m for m in METRICS if self.base.training is not None or m not in OF_TRAINING)


def generation_plan(study: Study, training: Text | None) -> GenerationPlan | None:
    """The plan of the table [generate]; None where a study has none.

    Raises:
        StudyError: a setting out of range; no such scorer, estimator or text.
        ModelError: the scorer's folder is broken.
    """
    asked = study.generate
    if asked is None:
        return None
    try:
        estimator = find_estimator(asked.estimator or Options().rate).name
        for temperature in asked.temperatures:
            for top_k in asked.top_k:
                for top_p in asked.top_p:
                    Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    except UsageError as error:
        raise StudyError(f"{study.file}: [generate]: {error}") from error
    scorer, told = _scorer(study, asked.scorer, training)
    base = Generating(
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        seed=0,
        samples=asked.samples,
        prompt_tokens=asked.prompt_tokens,
        max_new_tokens=asked.max_new_tokens,
        scorer=scorer,
        training=training,
        estimator=estimator,
    )
    return GenerationPlan(
        prompts=text_of(asked.prompts, study),
        base=base,
        decodings=_decodings(asked.temperatures, asked.top_k, asked.top_p, asked.seeds),
        identifying={
            "samples": asked.samples,
            "prompt_tokens": asked.prompt_tokens,
            "max_new_tokens": asked.max_new_tokens,
            "estimator": estimator,
            "training": None if training is None else training.hash,
            **told,
        },
    )


def _decodings(
    temperatures: Sequence[float], top_k: Sequence[int], top_p: Sequence[float], seeds: Sequence[int]
) -> tuple[tuple[float, int, float, int], ...]:
    """Every combination; at temperature 0 there is but one.

    >>> len(_decodings([0.0, 1.0], [0, 50], [1.0], [0, 1, 2]))
    7
    """
    found = [
        (t, k, p, seed) if t > 0 else (0.0, 0, 1.0, 0)
        for t in temperatures
        for k in top_k
        for p in top_p
        for seed in seeds
    ]
    return tuple(dict.fromkeys(found))


def _scorer(
    study: Study, entry: str, training: Text | None
) -> tuple[ModelSource | CoderSource, dict[str, str | int | None]]:
    """The scorer, and what identifies it."""
    try:
        row = find_coder(entry)
    except UsageError:
        row = None
    if row is not None:
        if row.needs_baseline_text and training is None:
            raise StudyError(f"{study.file}: the scorer {entry} is fitted to a text: name baseline_texts.")
        text = training if row.needs_baseline_text else None
        fitted = None if text is None else text.hash
        told: dict[str, str | int | None] = {"scorer": row.name, "scorer_version": row.version}
        return CoderSource(name=row.name, text=text), told | {"scorer_text": fitted}
    places = resolved(entry, study)
    if len(places) != 1:
        raise StudyError(f"{study.file}: the scorer {entry} is {len(places)} models. Name one.")
    folder = open_model(places[0][1])
    context = min(cache_facts(folder.config).get("max_context") or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    source = ModelSource(
        path=str(folder.path),
        format="as stored",
        embeddings=None,
        head=None,
        method=None,
        reference="as stored",
        dtype=study.dtype,
        context=context,
        stride=max(1, context // 2),
        batch_size=study.batch_size,
    )
    return source, {
        "scorer": folder.content_hash,
        "scorer_tokenizer": tokenizer_hash(folder.path),
        "scorer_context": context,
    }


def generated_tasks(plan: GenerationPlan, subject: Subject, source: ModelSource, settings: Mapping[str, Any],
                    group: str) -> list[Task]:  # fmt: skip
    """A task for each decoding of one model at one format."""
    tasks = []
    for temperature, top_k, top_p, seed in plan.decodings:
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        tasks.append(
            Task(
                subject=subject,
                probe=Probe(
                    kind="generated",
                    text=plan.prompts.hash,
                    text_name=plan.prompts.name,
                    settings={"tokenizer": settings["tokenizer"], **plan.identifying, **how},
                    algorithm=GENERATED_ALGORITHM,
                ),
                metrics=plan.metrics,
                source=source,
                text=plan.prompts,
                group=group,
                generating=replace(plan.base, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed),
            )
        )
    return tasks


def measure_generated(
    task: Task, model: Any, tokenizer: Any, scorer: Callable[[ModelSource | CoderSource], Coder]
) -> Mapping[str, Sequence[Part]]:
    """Generate after the beginnings of a text's documents, and compare with how they go on.

    Documents that end within their prompt are left out: their parts count nothing.

    Raises:
        CorpusError: no document goes on, or the model generated nothing.
    """
    how = task.generating
    if how is None:
        raise StudyError("the task does not say how text is generated.")
    decoding = Decoding(
        temperature=how.temperature,
        top_k=how.top_k,
        top_p=how.top_p,
        max_new_tokens=how.max_new_tokens,
    )
    named = [Document(name=str(i), text=d.text) for i, d in enumerate(task.text.documents)]
    human = _human(tokenizer, named, how)
    going_on = {c.source for c in human}
    prompts = make_prompts(
        tokenizer, [d for d in named if d.name in going_on], prompt_tokens=how.prompt_tokens
    )
    wanted = [Wanted(prompt=p, seed=how.seed, sample=i) for p in prompts for i in range(how.samples)]
    ours = [
        Continuation(
            name=f"{made.wanted.prompt.source}.{made.wanted.sample}",
            source=made.wanted.prompt.source,
            prompt=made.wanted.prompt.text,
            text=made.text,
            seed=how.seed,
            tokens=len(made.tokens),
            decoding_bits=sum(made.decoding_bits),
            model_bits=sum(made.model_bits),
        )
        for batch in produce(model, tokenizer, wanted, decoding)
        for made in batch
    ]
    if not any(c.text for c in ours):
        raise CorpusError(f"{task.label}: the model generated no text.")
    written = {c.source for c in ours if c.text}
    both = [[c for c in texts if c.source in written and c.text] for texts in (ours, human)]
    figures = _figures(both[0], both[1], scorer(how.scorer), how)
    return {metric: _parts(task, figures[METRICS[metric][0]], METRICS[metric][1]) for metric in task.metrics}


def _human(tokenizer: Any, documents: Sequence[Document], how: Generating) -> list[Continuation]:
    found = []
    for document in documents:
        prompt, text = human_continuation(
            tokenizer, document, prompt_tokens=how.prompt_tokens, new_tokens=how.max_new_tokens
        )
        if text:
            found.append(Continuation(name=document.name, source=document.name, prompt=prompt, text=text))
    if not found:
        raise CorpusError(
            f"no document of the prompts is longer than {how.prompt_tokens} tokens, so nothing human "
            "stands beside what is generated. Lower prompt_tokens, or give longer documents."
        )
    return found


def _figures(
    ours: Sequence[Continuation], human: Sequence[Continuation], scorer: Coder, how: Generating
) -> dict[str, Figure]:
    # Intervals are made from the parts when rows are exported; here a few resamples do.
    options = Options(estimator=how.estimator, resamples=2)
    sizes = common_sizes(ours, human, options)
    training = None if how.training is None else how.training.documents
    return {
        **bits_figures(ours, human, scorer, None, options),
        **fragment_figures(ours, human, training, sizes["window_bytes"], options),
        **repetition_figures(ours, human, sizes["units_per_text"], options),
    }


def _parts(task: Task, figure: Figure, side: Side) -> tuple[Part, ...]:
    """A figure as parts by document: what each says of it, over one; zero over zero where it is silent."""
    said = figure.contributions.get(side)
    if said is None:
        raise CorpusError(f"{task.label}: {figure.reason or 'a figure that is not defined'}")
    return tuple(
        Part(
            document=document.name,
            numerator=said.get(str(i), 0.0),
            denominator=1.0 if str(i) in said else 0.0,
            bytes=document.bytes,
            characters=document.characters,
        )
        for i, document in enumerate(task.text.documents)
    )
