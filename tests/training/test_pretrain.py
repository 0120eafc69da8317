"""A family from its recipe to folders that Transformers opens, through the command line."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from kbit.cli.app import run
from kbit.coders import CodeLengths
from kbit.corpus import read_documents
from kbit.training.evaluate import compare_neighbours
from kbit.training.pretrain import sharing
from kbit.training.reading import read_recipe

from .conftest import make_recipe


def pretrain(capsys, *arguments) -> dict:
    code = run(["pretrain", *map(str, arguments), "--json"])
    out = capsys.readouterr().out
    assert code == 0, out
    return json.loads(out)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Trained two rungs at once; the folder, the recipe's file, what the command printed."""
    folder = tmp_path_factory.mktemp("family")
    file = make_recipe(folder, steps=60)
    out = folder / "out"
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run(["pretrain", str(file), "--out", str(out), "--jobs", "2", "--threads", "1", "--json"]) == 0
    return out, file, json.loads(printed.getvalue())


def test_rungs_are_ordinary_folders(family):
    out, _, data = family
    assert [record["rung"] for record in data["rungs"]] == ["small", "large"]
    for record in data["rungs"]:
        folder = out / record["rung"]
        assert json.loads((folder / "training.json").read_text()) == record
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        assert model.dtype == torch.bfloat16
        assert sum(p.numel() for p in model.parameters()) == record["parameters"]
        assert model.config.tie_word_embeddings
        assert (
            (model.config.bos_token_id, model.config.eos_token_id)
            == (tokenizer.bos_token_id, tokenizer.eos_token_id)
            == (0, 1)
        )
        assert model.config.max_position_embeddings == tokenizer.model_max_length == 32
        ids = tokenizer("naïve 你好", return_tensors="pt")
        made = model.generate(**ids, max_new_tokens=4, do_sample=False)
        assert made.shape[1] > ids.input_ids.shape[1]


def test_held_out_bits_are_those_of_the_written_model(family):
    """Documents of at most a window: one forward pass, log-softmax in float64."""
    out, _, data = family
    documents = list(read_documents([out / "held-out.jsonl"]))
    record = data["rungs"][1]
    model = AutoModelForCausalLM.from_pretrained(out / "large", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(out / "large")
    lengths = {
        line["document"]: line
        for line in map(json.loads, (out / "runs" / "large" / "held-out-bits.jsonl").read_text().splitlines())
    }
    assert set(lengths) == {d.name for d in documents}
    assert record["held_out_bytes"] == sum(d.bytes for d in documents)
    assert record["held_out_bits"] == pytest.approx(sum(line["bits"] for line in lengths.values()))
    assert record["held_out_bits_per_byte"] == pytest.approx(
        record["held_out_bits"] / record["held_out_bytes"]
    )
    # Windows of 32 begin with BOS and advance by 16: 31 tokens, then 16 new ones each behind 15 seen.
    document = documents[0]
    ids = tokenizer(document.text, add_special_tokens=False).input_ids
    nats, done, start = 0.0, 0, 0
    while done < len(ids):
        window = [0, *ids[start : start + 31]]
        with torch.no_grad():
            logs = model(torch.tensor([window])).logits[0].double().log_softmax(-1)
        for place in range(done, min(start + 31, len(ids))):
            nats -= logs[place - start, ids[place]].item()
        done = min(start + 31, len(ids))
        start += 16
    assert lengths[document.name]["tokens"] == len(ids)
    assert lengths[document.name]["bits"] == pytest.approx(nats / math.log(2), rel=5e-3)


def test_it_beats_uniform_tokens_on_text_it_has_not_seen(family):
    out, _, data = family
    for record in data["rungs"]:
        lines = (out / "runs" / record["rung"] / "held-out-bits.jsonl").read_text().splitlines()
        uniform = math.log2(512) * sum(json.loads(line)["tokens"] for line in lines)
        assert record["held_out_bits"] < 0.95 * uniform
        assert record["prequential_bits_per_byte"] > record["held_out_bits_per_byte"]
    [pair] = data["neighbours"]
    bits = [record["held_out_bits_per_byte"] for record in data["rungs"]]
    assert pair["gain_bits_per_byte"] == pytest.approx(bits[0] - bits[1])


def test_a_second_call_keeps_what_is_finished(family, capsys):
    out, file, data = family
    weights = (out / "large" / "model.safetensors").stat().st_mtime_ns
    again = pretrain(capsys, file, "--out", out)
    assert again["rungs"] == data["rungs"]
    assert (out / "large" / "model.safetensors").stat().st_mtime_ns == weights
    assert json.loads((out / "family.json").read_text())["neighbours"] == data["neighbours"]


def test_jobs_change_no_loss(family, capsys, tmp_path):
    out, file, data = family
    alone = pretrain(
        capsys, file, "--out", tmp_path / "alone", "--only", "small", "--jobs", "1", "--threads", "1"
    )
    assert len(alone["rungs"]) == 1
    assert alone["rungs"][0]["held_out_bits"] == data["rungs"][0]["held_out_bits"]
    assert alone["neighbours"] == []
    same = "small/model.safetensors"
    assert (tmp_path / "alone" / same).read_bytes() == (out / same).read_bytes()


def test_dry_run_counts_and_writes_nothing(tmp_path, capsys):
    file = make_recipe(tmp_path)
    data = pretrain(capsys, file, "--out", tmp_path / "out", "--dry-run", "--jobs", "2", "--threads", "1")
    assert not (tmp_path / "out").exists()
    large = data["rungs"][1]
    assert large["body_parameters"] == 2 * (4 * 64 * 64 + 3 * 64 * 96) + 5 * 64
    assert large["parameters"] == large["body_parameters"] + 512 * 64
    assert large["stored_bytes"] == 2 * large["parameters"]
    assert large["tokens"] == 24 * 64
    per_token = 6 * (2 * (4 * 64 * 64 + 3 * 64 * 96) + 512 * 64) + 6 * 2 * 64 * 32
    assert large["flops"] == 24 * 64 * per_token
    assert large["memory_bytes"] == 16 * large["parameters"] + 2 * 32 * 2 * (50 * 64 + 10 * 96)
    assert data["flops"] == sum(rung["flops"] for rung in data["rungs"])
    assert data["wall_s"] == pytest.approx(max(rung["wall_s"] for rung in data["rungs"]))
    assert run(["pretrain", str(file), "--dry-run"]) == 0
    assert "tokens/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent.toml"], 1, "no such recipe: absent.toml"),
        (["RECIPE", "--only", "larg"], 1, "no rung 'larg'; did you mean 'large'?"),
        (["RECIPE", "--jobs", "0"], 2, "--jobs is 0"),
        (["RECIPE", "--threads", "-1"], 2, "--threads is -1"),
    ],
)
def test_errors(tmp_path, capsys, arguments, code, said):
    file = make_recipe(tmp_path)
    arguments = [str(file) if a == "RECIPE" else a for a in arguments]
    assert run(["pretrain", *arguments, "--out", str(tmp_path / "out"), "--json"]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert said in json.loads(captured.out)["error"]["message"]


def test_a_split_with_an_empty_side_is_refused(tmp_path, capsys):
    file = make_recipe(tmp_path)
    file.write_text(file.read_text().replace("held_out_share = 0.3", "held_out_share = 0.0001"))
    assert run(["pretrain", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "0 held-out documents" in capsys.readouterr().err


def test_sharing_of_cores(tmp_path):
    recipe = read_recipe(make_recipe(tmp_path))
    torch.set_num_threads(1)
    assert sharing(recipe) == (1, 1)
    assert sharing(recipe, jobs=8) == (2, 1)
    assert sharing(recipe, only=["small"], jobs=8, threads=3) == (1, 3)


def test_neighbours_are_paired_by_document():
    def lengths(bits):
        return [
            CodeLengths(document=str(i), bits=b, bytes=10, characters=10, tokens=5)
            for i, b in enumerate(bits)
        ]

    small, large = lengths([20.0, 40.0, 60.0]), lengths([19.0, 38.0, 58.5])
    [pair] = compare_neighbours([("s", small), ("l", large)])
    assert pair.gain_bits_per_byte == pytest.approx(4.5 / 30)
    squares = sum((d - 1.5) ** 2 for d in (1.0, 2.0, 1.5))
    assert pair.standard_error == pytest.approx(math.sqrt(3 / 2 * squares) / 30)
    assert pair.standard_errors == pytest.approx((4.5 / 30) / (math.sqrt(0.75) / 30))
