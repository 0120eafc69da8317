"""One task, one model: answers asked for, kept, judged."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbit.corpus import Document
from kbit.errors import UsageError
from kbit.information.estimate import RESAMPLES
from kbit.information.text_vectors import text_vectors
from kbit.tasks import choose, mining, write
from kbit.tasks.baselines import Baseline, reply_text
from kbit.tasks.choose import choice_bits
from kbit.tasks.encode import Encoded, TooLong, encode_items, room_of
from kbit.tasks.harness import ask_harness
from kbit.tasks.item import Answer, Item
from kbit.tasks.judge import Judged, judge
from kbit.tasks.predictions import answer_all
from kbit.tasks.programs import STOPS, Limits, program_of, run_program
from kbit.tasks.task import Task
from kbit.tasks.write import Writing, write_answers

ALGORITHM = {"tasks": 1, "choose": choose.VERSION, "write": write.VERSION}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """How a model is asked.

    Attributes:
        max_new_tokens: of an answer that is written; the task's own where None.
        stop: what ends one; a new line, or what ends a function, where None.
        temperature, seed: of programs, which are drawn; every other answer is the likeliest.
        samples: programs for each problem.
        too_long: what becomes of prompts that the model cannot read whole.
        clusters: topics that are looked for; as many as there are labels, or 8, where None.
        run_programs: programs that the model writes may be run here, within `limits`.
        batch_size: items read together.
        resamples: of the bootstrap over items.
    """

    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    temperature: float = 0.8
    seed: int = 0
    samples: int = 10
    too_long: TooLong = "refuse"
    clusters: int | None = None
    run_programs: bool = False
    limits: Limits = field(default_factory=Limits)
    batch_size: int | None = None
    resamples: int = RESAMPLES

    def identifying(self, task: Task) -> dict[str, Any]:
        """What of it changes the answers to a task."""
        told: dict[str, Any] = {"task": task.name, "version": task.version, "too_long": self.too_long}
        if task.form in ("write", "reply", "program"):
            told |= {"max_new_tokens": self.max_new_tokens or task.max_new_tokens, "stop": self.stop}
        if task.form == "program":
            told |= {"temperature": self.temperature, "seed": self.seed, "samples": self.samples}
            told |= {"seconds": self.limits.seconds, "memory_mib": self.limits.memory_mib}
        if task.form == "cluster":
            told |= {"clusters": self.clusters, "seed": self.seed}
        return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A task that was carried out.

    Attributes:
        items: what was asked, `answers` what was answered, in the same order.
        judged: figures.
        cut: prompts whose beginnings were left out because they were too long.
        told: what else there is to say: topics, the harness's own figures.
    """

    items: Sequence[Item]
    answers: Sequence[Answer]
    judged: Judged
    cut: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)


def run_task(
    task: Task,
    items: Sequence[Item],
    language: str,
    model: Any,
    tokenizer: Any,
    how: Asking,
    *,
    file: Path,
    settings: Mapping[str, Any],
    on_answer: Callable[[int, int], None] | None = None,
) -> Ran:
    """Ask a model, keep its answers, judge them.

    Args:
        task: a row of the table.
        items: of it, as `read_items` gives them; `language` that of their answers.
        language: two letters.
        model: a causal language model, k-bit or not.
        tokenizer: its tokeniser.
        how: it is asked.
        file: where answers are kept as they come; a run that was killed goes on from there.
        settings: what tells this model from others, for that file.
        on_answer: called with the number of answers that are there and that of items.

    Raises:
        UsageError: programs are to be run, and that was not asked for; the file holds other answers.
        CorpusError: prompts are too long, or the task's files lack something.
    """
    if task.form == "program" and not how.run_programs:
        raise UsageError(
            f"{task.name} runs programs that the model writes, on this machine and with your rights. "
            "Say --run-programs if that is what you want."
        )
    told = dict(settings) | how.identifying(task) | {"algorithm": ALGORITHM}
    keeping: dict[str, Any] = {"file": file, "settings": told, "on_answer": on_answer}
    if task.form == "cluster":
        return _mine(task, items, language, model, tokenizer, how, keeping)
    if task.harness is not None:
        return _by_harness(task, items, language, model, tokenizer, how, keeping)
    asked = _drawn(items, how.samples) if task.form == "program" else list(items)
    encoded = _encode(task, asked, model, tokenizer, how)
    work = _work(task, encoded, model, tokenizer, how)
    answers = answer_all(asked, work, **keeping)
    cut = sum(1 for e in encoded.values() if e.cut)
    if task.form == "program":
        answers = _run_programs(items, answers, how)
    return Ran(
        items=items,
        answers=answers,
        judged=_judge(task, items, answers, language, how),
        cut=cut,
    )


def _judge(
    task: Task,
    items: Sequence[Item],
    answers: Sequence[Answer],
    language: str,
    how: Asking,
    baselines: Sequence[Baseline] | None = None,
) -> Judged:
    return judge(
        task.metrics,
        task.baselines if baselines is None else baselines,
        items,
        answers,
        language=language,
        seed=how.seed,
        resamples=how.resamples,
    )


def _encode(task: Task, items: Sequence[Item], model: Any, tokenizer: Any, how: Asking) -> dict[str, Encoded]:
    writes = task.form in ("write", "reply", "program")
    new_tokens = (how.max_new_tokens or task.max_new_tokens) if writes else 0
    found = encode_items(
        tokenizer,
        items,
        longest=room_of(model),
        new_tokens=new_tokens,
        with_reference=task.form == "reply",
        too_long=how.too_long,
    )
    return {e.item.name: e for e in found}


def _work(
    task: Task, encoded: Mapping[str, Encoded], model: Any, tokenizer: Any, how: Asking
) -> Callable[[Sequence[Item]], Iterator[list[tuple[Item, Answer]]]]:
    """What answers the items that are still open."""
    drawn = task.form == "program"
    writing = Writing(
        max_new_tokens=how.max_new_tokens or task.max_new_tokens or 1,
        stop=how.stop if how.stop is not None else STOPS if drawn else ("\n",),
        temperature=how.temperature if drawn else 0.0,
        seed=how.seed,
        keep_space=drawn,
    )

    def choosing(items: Sequence[Item]) -> Iterator[list[tuple[Item, Answer]]]:
        for batch in choice_bits(model, [encoded[i.name] for i in items], batch_size=how.batch_size):
            yield [(e.item, Answer(choice_bits=tuple(bits.tolist()))) for e, bits in batch]

    def written(items: Sequence[Item]) -> Iterator[list[tuple[Item, Answer]]]:
        mine = [encoded[i.name] for i in items]
        for batch in write_answers(model, tokenizer, mine, writing, batch_size=how.batch_size):
            bits = {}
            if task.form == "reply":
                asked = [e for e, _ in batch]
                bits = {e.item.name: float(b[0]) for part in choice_bits(model, asked) for e, b in part}
            yield [
                (
                    e.item,
                    Answer(
                        text=answer.text,
                        reference_bits=bits.get(e.item.name),
                        reference_bytes=len(reply_text(e.item).encode()) if bits else 0,
                        told={"tokens": answer.tokens, "finish": answer.finish},
                    ),
                )
                for e, answer in batch
            ]

    return choosing if task.form in ("label", "pair") else written


def _by_harness(
    task: Task,
    items: Sequence[Item],
    language: str,
    model: Any,
    tokenizer: Any,
    how: Asking,
    keeping: dict[str, Any],
) -> Ran:
    """The harness answers all at once; its files stay beside the answers."""
    figures: dict[str, float] = {}

    def work(wanted: Sequence[Item]) -> Iterator[list[tuple[Item, Answer]]]:
        folder = keeping["file"].with_suffix(".harness")
        for start in range(0, len(wanted), HARNESS_ITEMS):
            some = wanted[start : start + HARNESS_ITEMS]
            answers, own = ask_harness(task, some, folder, model, tokenizer, batch_size=how.batch_size or 8)
            if len(some) == len(items):
                figures.update(own)
            yield list(zip(some, answers, strict=True))

    items = [_with_choices(task, item) for item in items]
    answers = answer_all(items, work, **keeping)
    judged = _judge(task, items, answers, language, how)
    return Ran(items=items, answers=answers, judged=judged, told={"harness": figures or None})


HARNESS_ITEMS = 2000
"""Items of one call of the harness, which says nothing until it has done them all."""


def _with_choices(task: Task, item: Item) -> Item:
    fixed = task.harness.choices if task.harness else ()
    return dataclasses.replace(item, choices=fixed) if fixed else item


def _drawn(items: Sequence[Item], samples: int) -> list[Item]:
    """Each item as many times as it is tried, under names of its own."""
    return [dataclasses.replace(item, name=f"{item.name}#{i}") for item in items for i in range(samples)]


def _run_programs(items: Sequence[Item], written: Sequence[Answer], how: Asking) -> list[Answer]:
    """Run what was written, and count by problem."""
    found = []
    for number, item in enumerate(items):
        mine = written[number * how.samples : (number + 1) * how.samples]
        outcomes = [
            run_program(
                program_of(
                    item.prompt, answer.text, str(item.fields["test"]), str(item.fields["entry_point"])
                ),
                how.limits,
            )
            for answer in mine
        ]
        found.append(
            Answer(
                passed=sum(1 for outcome, _ in outcomes if outcome == "passed"),
                tried=len(outcomes),
                told={"outcomes": [outcome for outcome, _ in outcomes]},
            )
        )
    return found


def _mine(
    task: Task,
    items: Sequence[Item],
    language: str,
    model: Any,
    tokenizer: Any,
    how: Asking,
    keeping: dict[str, Any],
) -> Ran:
    labels = {str(item.fields["label"]) for item in items if "label" in item.fields}
    count = how.clusters or (len(labels) if len(labels) > 1 else 8)

    def work(wanted: Sequence[Item]) -> Iterator[list[tuple[Item, Answer]]]:
        for start in range(0, len(wanted), VECTORS_AT_ONCE):
            some = wanted[start : start + VECTORS_AT_ONCE]
            documents = [Document(name=item.source, text=item.given) for item in some]
            vectors = text_vectors(model, tokenizer, documents)
            yield [
                (item, Answer(told={"vector": [round(x, 6) for x in vector]}))
                for item, vector in zip(some, vectors.tolist(), strict=True)
            ]

    import numpy as np

    kept = answer_all(items, work, **keeping)
    vectors = np.array([answer.told["vector"] for answer in kept])
    ours = mining.mine(items, vectors, count=count, language=language, seed=how.seed)
    words = mining.mine_words(items, count=count, language=language, seed=how.seed)
    shuffled = mining.mine_shuffled(items, ours, language, seed=how.seed)
    baselines = [
        Baseline(name="tf-idf", what="k-means of TF-IDF", answers=lambda _: list(words.answers)),
        Baseline(
            name="shuffled", what="texts put together at random", answers=lambda _: list(shuffled.answers)
        ),
    ]
    judged = _judge(task, items, ours.answers, language, how, baselines)
    return Ran(
        items=items,
        answers=ours.answers,
        judged=judged,
        told={
            "topics": [dataclasses.asdict(topic) for topic in ours.topics],
            "silhouette": ours.clusters.silhouette,
            "adjusted_rand": ours.clusters.adjusted_rand,
            "adjusted_rand_tf_idf": words.clusters.adjusted_rand,
            "p_value": ours.clusters.p_value,
        },
    )


VECTORS_AT_ONCE = 32
