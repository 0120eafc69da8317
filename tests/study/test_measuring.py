"""Studies of tiny random models, carried out for real."""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kbit.coders import LanguageModelCoder, baseline
from kbit.corpus import Document, read_documents
from kbit.information import divergence, gain
from kbit.models import load, load_tokenizer
from kbit.quantize import quantize_model
from kbit.store import open_store
from kbit.study import failures, plan, read_study, run, status


@pytest.fixture(scope="module")
def done(family: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    planned = plan(read_study(family / "s.toml"))
    with open_store(tmp_path_factory.mktemp("done") / "s.sqlite", create=True) as store:
        result = run(planned, store)
        assert (result.done, result.failed) == (result.total, 0)
        return list(store.rows("tiny"))


def row(rows: list[dict[str, object]], metric: str = "bits_per_byte", **wanted: object) -> dict[str, object]:
    (found,) = [r for r in rows if r["metric"] == metric and all(r[k] == v for k, v in wanted.items())]
    return found


def documents(family: Path) -> list[Document]:
    return list(read_documents([family / "held-out.jsonl"]))


@pytest.mark.parametrize("form", ["nf4:b64", "int3:b32"])
def test_figures_are_those_of_the_quantised_folder(
    family: Path, done: list[dict[str, object]], tmp_path: Path, form: str
) -> None:
    written = quantize_model(family / "rung-2", tmp_path / "q", format=form)
    model = load(tmp_path / "q", dtype=torch.float32)
    reference = load(family / "rung-2", dtype=torch.float32)
    tokenizer, texts = load_tokenizer(family / "rung-2"), documents(family)
    coder = LanguageModelCoder(model, tokenizer, name="m", context=32, stride=16)
    lengths = list(coder.code_lengths(texts))
    measured = row(done, model="rung-2", format=form)
    assert measured["bits"] == pytest.approx(math.fsum(c.bits for c in lengths), rel=1e-6)
    assert measured["bytes"] == sum(d.bytes for d in texts)
    assert measured["characters"] == sum(d.characters for d in texts)
    assert measured["tokens"] == sum(c.tokens for c in lengths)
    assert measured["bytes_lost"] == 0
    assert measured["stored_bits"] == written.stored_bits.whole
    assert measured["body_bits_per_weight"] == written.stored_bits.body_bits_per_weight
    base = list(baseline("kneser-ney-6", read_documents([family / "train.txt"])).code_lengths(texts))
    assert measured["gain"] == pytest.approx(gain(lengths, base).value, abs=1e-6)
    found = divergence(model, reference, tokenizer, texts, context=32, stride=16)
    compared = row(done, "kl_bits_per_byte", model="rung-2", format=form)
    assert compared["value"] == pytest.approx(found.kl_bits / found.bytes, rel=1e-4)
    agreed = row(done, "top1_agreement", model="rung-2", format=form)
    assert agreed["numerator"] == sum(d.agreed for d in found.documents)
    assert agreed["denominator"] == found.tokens


def test_the_16_bit_model(family: Path, done: list[dict[str, object]]) -> None:
    model = load(family / "rung-1", dtype=torch.float32)
    coder = LanguageModelCoder(model, load_tokenizer(family / "rung-1"), name="m", context=32, stride=16)
    bits = math.fsum(c.bits for c in coder.code_lengths(documents(family)))
    measured = row(done, model="rung-1", format="bf16")
    assert measured["bits"] == pytest.approx(bits, rel=1e-6)
    assert measured["stored_bits"] == 16 * sum(p.numel() for p in model.parameters())
    assert (measured["family"], measured["format_bits"], measured["method"]) == ("rung", 16, None)
    assert measured["wall_s"] > 0  # type: ignore[operator]
    assert row(done, model="uniform")["value"] == 8.0


def test_each_model_is_loaded_once(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def counting(path: object, **options: object) -> object:
        loaded.append(Path(str(path)).name)
        return load(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("kbit.models.load", counting)
    with open_store(tmp_path / "s.sqlite", create=True) as store:
        run(plan(read_study(family / "s.toml")), store)
    # Each rung once at 16 bits, and each of its k-bit forms once.
    assert loaded == ["rung-1", "model", "model", "rung-2", "model", "model"]


def test_a_broken_model_fails_and_the_rest_goes_on(
    family: Path, tmp_path: Path, tiny: ModuleType, study_file: Callable[..., Path]
) -> None:
    model = tiny.model(3)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 4] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    tiny.tokenizer().save_pretrained(tmp_path / "broken")
    tiny.model(4).save_pretrained(tmp_path / "speechless")  # no tokeniser
    models = [str(tmp_path / "broken"), str(tmp_path / "speechless"), "rung-1"]
    planned = plan(read_study(study_file("broken.toml", models=models)))
    with open_store(tmp_path / "s.sqlite", create=True) as store:
        result = run(planned, store)
        assert (result.total, result.done, result.failed) == (24, 10, 14)
        reasons = {str(f["label"]): str(f["reason"]) for f in failures(planned, store)}
        rows = list(store.rows("tiny"))
    assert "nan at [3, 4]" in reasons["broken nf4:b64 on held-out.jsonl"]
    assert "bits: its logits are not numbers" in reasons["broken bf16 on held-out.jsonl"]
    assert "has no tokeniser" in reasons["speechless bf16 on held-out.jsonl"]
    assert all(r["value"] is None and r["gain"] is None for r in rows if r["status"] != "ok")
    assert {r["status"] for r in rows if r["model"] == "broken"} == {"refused"}


def test_bfloat16_activations_are_other_numbers(
    family: Path, tmp_path: Path, done: list[dict[str, object]], study_file: Callable[..., Path]
) -> None:
    file = study_file("bf16.toml", models=["rung-1"], formats=["bf16", "nf4"], dtype="bfloat16")
    with open_store(tmp_path / "s.sqlite", create=True) as store:
        assert run(plan(read_study(file)), store).failed == 0
        rows = list(store.rows("tiny"))
    for form in ("bf16", "nf4:b64"):
        rough, exact = row(rows, model="rung-1", format=form), row(done, model="rung-1", format=form)
        assert rough["bits"] != exact["bits"]
        assert rough["bits"] == pytest.approx(exact["bits"], rel=0.02)
        assert rough["numerics"] == "bfloat16/cpu"


@pytest.mark.slow
def test_kill_the_command_while_it_measures(family: Path, tmp_path: Path) -> None:
    """`kbit study run` itself, killed; it leaves no half rows, and no folders once it has run again."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", "from kbit.cli import main; main()", "study", "run",
               str(family / "s.toml"), "--store", str(path), "--json"]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(temporary)}
    planned = plan(read_study(family / "s.toml"))
    chance = random.Random(1)
    goals = [1, 5, 9]  # rows in the store when it is killed, a moment later
    for goal in goals:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            if path.exists() and path.stat().st_size:
                with open_store(path, create=True) as store:
                    if status(planned, store).done >= goal:
                        break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert any(temporary.iterdir())  # a folder that the killed process could not remove
    last = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert last.returncode == 0, last.stderr.decode()
    assert not any(temporary.iterdir())
    with open_store(path) as store:
        rows = list(store.rows(all_versions=True))
    assert sorted((str(r["identity"]), str(r["metric"])) for r in rows) == sorted(planned.keys)
    assert {r["status"] for r in rows} == {"ok"}
    shutil.rmtree(temporary)


def test_text_of_the_calibration_is_refused(tmp_path):
    import json
    from types import SimpleNamespace

    from kbit.corpus import Document
    from kbit.errors import UsageError
    from kbit.quantize.calibration.text import document_hash
    from kbit.study.measure import _check_unseen

    seen, new = Document(name="a", text="read before"), Document(name="b", text="never read")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "calibration.json").write_text(json.dumps({"documents": [document_hash(seen)]}))
    source = SimpleNamespace(path=str(tmp_path))
    _check_unseen(SimpleNamespace(text=SimpleNamespace(documents=[new])), source)
    with pytest.raises(UsageError, match="1 of 2 documents were read"):
        _check_unseen(SimpleNamespace(text=SimpleNamespace(documents=[seen, new])), source)
