"""Tasks that lm-evaluation-harness asks, from local files: its own YAML beside JSON lines.

What is written is a folder for `lm_eval --include_path`, so that anyone can run the same items without kbit.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kbit.errors import CorpusError, MissingExtraError
from kbit.tasks.item import Answer, Item
from kbit.tasks.task import HarnessForm, Task

PREFIX = "kbit_"
LN2 = 0.6931471805599453
_AGGREGATION = {
    "acc": ("mean", "true"),
    "acc_norm": ("mean", "true"),
    "perplexity": ("perplexity", "false"),
}


def harness_name(task: Task) -> str:
    """What the harness calls a task of ours.

    >>> from kbit.tasks import find_task
    >>> harness_name(find_task("arc-easy"))
    'kbit_arc_easy'
    """
    return PREFIX + task.name.replace("-", "_")


def write_harness_files(task: Task, items: Sequence[Item], folder: Path) -> Path:
    """Write `TASK.yaml` and `TASK.jsonl` for the harness.

    Args:
        task: one that the harness asks.
        items: of it.
        folder: made where it is not there.

    Returns:
        The YAML file.

    Raises:
        CorpusError: it cannot be written.
    """
    form = _form(task)
    name = harness_name(task)
    data, yaml = folder / f"{name}.jsonl", folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text("".join(json.dumps(_record(item, form)) + "\n" for item in items), encoding="utf-8")
        yaml.write_text(_yaml(task, form, data), encoding="utf-8")
    except OSError as error:
        raise CorpusError(f"{folder} cannot be written: {error.strerror}. Choose another place.") from error
    return yaml


def _form(task: Task) -> HarnessForm:
    if task.harness is None:
        raise CorpusError(f"{task.name} is no task of the harness: kbit asks it itself.")
    return task.harness


def _record(item: Item, form: HarnessForm) -> dict[str, Any]:
    record: dict[str, Any] = {"name": item.name, "query": item.prompt, "gold": item.gold}
    if form.output_type == "loglikelihood":
        return {"name": item.name, "query": item.prompt, "target": item.references[0]}
    record["choices"] = list(form.choices or item.choices)
    if form.contexts:
        record["target"] = str(item.fields["continuation"]).strip()
    return record


def _yaml(task: Task, form: HarnessForm, data: Path) -> str:
    """The task in the harness's own words; `dataset_kwargs` names the file as it lies."""
    if form.output_type == "loglikelihood":
        ask = ["doc_to_text: '{{query}}'", "doc_to_target: '{{\" \" + target}}'"]
    elif form.contexts:
        # As its own winogrande: the "text" is the number of the right context, the target what follows all.
        ask = ["doc_to_text: gold", "doc_to_target: target", "doc_to_choice: choices"]
    else:
        ask = ["doc_to_text: '{{query}}'", "doc_to_target: gold", "doc_to_choice: choices"]
    metrics = [
        line
        for metric in form.metrics
        for line in (
            f"  - metric: {metric}",
            f"    aggregation: {_AGGREGATION[metric][0]}",
            f"    higher_is_better: {_AGGREGATION[metric][1]}",
        )
    ]
    lines = [
        f"task: {harness_name(task)}",
        "dataset_path: json",
        f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(data.resolve()))}}}}}",
        "test_split: test",
        f"output_type: {form.output_type}",
        *ask,
        "metric_list:",
        *metrics,
        f"metadata: {{version: {task.version}, of: {form.task}}}",
    ]
    return "\n".join(lines) + "\n"


def ask_harness(
    task: Task, items: Sequence[Item], folder: Path, model: Any, tokenizer: Any, *, batch_size: int = 8
) -> tuple[list[Answer], dict[str, float]]:
    """Let the harness ask, and give its answers and its own figures.

    Args:
        task: one that the harness asks.
        items: of it.
        folder: for its files.
        model: a causal language model, k-bit or not.
        tokenizer: its tokeniser.
        batch_size: sequences read together.

    Returns:
        Answers in the order of items, and the harness's figures by its own names (`acc`, `acc_stderr`, …).

    Raises:
        MissingExtraError: lm_eval is absent.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtraError("lm-eval", needed_for=f"the task {task.name}")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    write_harness_files(task, items, folder)
    name = harness_name(task)
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
        tasks=[name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        random_seed=0,
        numpy_random_seed=0,
        torch_random_seed=0,
        fewshot_random_seed=0,
    )
    samples = {sample["doc"]["name"]: sample for sample in found["samples"][name]}
    figures = {
        key.removesuffix(",none"): float(value)
        for key, value in found["results"][name].items()
        if isinstance(value, int | float) and key != "sample_len"
    }
    return [_answer(item, samples[item.name]) for item in items], figures


def _answer(item: Item, sample: Any) -> Answer:
    scored = [response[0] for response in sample["resps"]]
    if item.choices:
        return Answer(choice_bits=tuple(-float(score[0]) / LN2 for score in scored))
    [(likelihood, greedy)] = scored
    return Answer(
        text=item.references[0] if greedy else "",
        reference_bits=-float(likelihood) / LN2,
        reference_bytes=len(item.references[0].encode()),
    )
