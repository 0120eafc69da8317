"""lm-evaluation-harness through kbit gives what the harness alone gives, at 16 and at k bits."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

from kbit.cli.app import run
from kbit.models import load, load_tokenizer
from kbit.models.dense import make_dense
from kbit.quantize import quantize_model
from kbit.tasks import find_task
from kbit.tasks.harness import ask_harness, write_harness_files
from kbit.tasks.items import read_items
from kbit.tasks.raw import Reading

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="lm_eval is not installed")

RECORDS = {
    "piqa": [
        {"query": f"Question: how to {w}?\n", "choices": [f"{w} it", f"then {w} the hen"], "gold": i % 2}
        for i, w in enumerate(("open", "eat", "inter", "hear", "tie", "reach"))
    ],
    "lambada": [
        {"context": f"the {w} in the hen and the", "continuation": w} for w in ("hen", "inn", "tea", "er")
    ],
    "winogrande": [
        {
            "context_options": [f"The {w} met the hen so the {w}", f"The {w} met the hen so the hen"],
            "continuation": "was glad.",
            "gold": i % 2,
        }
        for i, w in enumerate(("cat", "ant", "heron", "inner"))
    ],
    "boolq": [
        {"query": f"Passage: {w}.\nQuestion: is it?", "choices": ["no", "yes"], "gold": i % 2}
        for i, w in enumerate(("hen", "inn", "her"))
    ],
}


def items_of(name, folder):
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[name]))
    return read_items(find_task(name), [file], Reading())[0]


def alone(folder, task, model):
    """The harness in a process of its own, which has never heard of kbit's Python."""
    out = folder / "results"
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--tasks", task]
    command += ["--model_args", f"pretrained={model},dtype=float32"]
    command += ["--include_path", str(folder), "--output_path", str(out)]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ) | {"HF_HUB_OFFLINE": "1"})
    [file] = out.rglob("results_*.json")
    return {k.removesuffix(",none"): v for k, v in json.loads(file.read_text())["results"][task].items()}


@needs_harness
def test_a_16_bit_model_scores_as_in_the_harness_alone(folder, tmp_path):
    items = items_of("piqa", tmp_path)
    write_harness_files(find_task("piqa"), items, tmp_path / "alone")
    expected = alone(tmp_path / "alone", "kbit_piqa", folder)
    answers, figures = ask_harness(
        find_task("piqa"), items, tmp_path / "ours", load(folder, dtype=torch.float32), load_tokenizer(folder)
    )
    assert figures["acc"] == expected["acc"]
    assert figures["acc_norm"] == expected["acc_norm"]
    assert len(answers) == 6


@needs_harness
@pytest.mark.parametrize("name", ["boolq", "lambada", "winogrande"])
def test_k_bits_score_as_their_decoded_dense_twin(folder, tmp_path, name):
    packed = quantize_model(folder, tmp_path / "nf4", format="nf4:b64", embeddings="int8:b64").out
    items = items_of(name, tmp_path)
    task, tokenizer = find_task(name), load_tokenizer(folder)
    ours, figures = ask_harness(task, items, tmp_path / "k", load(packed, dtype=torch.float32), tokenizer)
    twin = make_dense(load(packed, dtype=torch.float32), dtype=torch.float32)
    theirs, twins = ask_harness(task, items, tmp_path / "t", twin, tokenizer)
    assert figures == pytest.approx(twins, rel=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        assert one.choice_bits == pytest.approx(other.choice_bits, abs=1e-3)
        assert one.text == other.text
        if one.reference_bits is not None:
            assert one.reference_bits == pytest.approx(other.reference_bits, abs=1e-3)
    full, _ = ask_harness(task, items, tmp_path / "f", load(folder, dtype=torch.float32), tokenizer)
    assert full != ours


@needs_harness
def test_our_figures_from_its_answers_are_its_own(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, ours in (("piqa", {"accuracy": "acc", "accuracy_norm": "acc_norm"}),
                       ("winogrande", {"accuracy": "acc"}),
                       ("lambada", {"accuracy": "acc", "perplexity": "perplexity"})):  # fmt: skip
        items_of(name, tmp_path)
        data = str(tmp_path / f"{name}.jsonl")
        assert run(["task", "run", name, str(folder), "--data", data, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        for metric, theirs in ours.items():
            assert told["metrics"][metric]["value"] == pytest.approx(told["harness"][theirs], rel=1e-9)


def test_files_for_the_harness(tmp_path, capsys):
    items_of("winogrande", tmp_path)
    data, out = str(tmp_path / "winogrande.jsonl"), tmp_path / "out"
    assert run(["task", "files", "winogrande", "--data", data, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "kbit_winogrande"
    assert f"--include_path {out}" in told["run"]
    yaml = (out / "kbit_winogrande.yaml").read_text()
    assert "output_type: multiple_choice" in yaml
    assert "doc_to_text: gold" in yaml
    first = json.loads((out / "kbit_winogrande.jsonl").read_text().splitlines()[0])
    assert first["target"] == "was glad."
    assert first["choices"][0].endswith("so the cat")
    assert run(["task", "files", "translation", "--data", data, "--out", str(out)]) == 2
    assert "not asked by the harness" in capsys.readouterr().err
