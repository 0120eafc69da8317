"""`kbit advise`, and `fit` and `frontier` on a store, with gains that follow a known curve."""

import importlib.util
import json
from pathlib import Path

import pytest

from kbit.cli.app import run
from kbit.store import Labels, Subject, open_store

FACTS = {
    "layers": 2, "kv_heads": 2, "head_dim": 16, "hidden_size": 64, "intermediate_size": 128,
    "vocab_size": 512, "max_context": 256,
}  # fmt: skip
SIZES = (10, 20, 30)
BASE = (40.0, 90.0, 125.0)


def gain_of(parameters, bits):
    return 3.0 - 20.0 * parameters**-0.3 - {8: 0.0, 4: 0.05, 2: 0.8}[bits]


@pytest.fixture(scope="module")
def make():
    path = Path(__file__).parent.parent / "store" / "conftest.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_store_makers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(make, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    coder = Subject(
        kind="coder", content=make.digest("train"), coder="kneser-ney-6", algorithm={"coder": 1},
        labels=Labels(name="kneser-ney-6"),
    )  # fmt: skip
    measurements = [make.make_measurement(BASE, subject=coder, probe=make.make_probe(settings={}))]
    for i in range(6):
        parameters = 10**5 * 3**i
        for bits in (8, 4, 2):
            labels = Labels(
                name=f"rung-{i}", family="rungs", format=f"nf{bits}:b64", format_bits=bits, method="nearest",
                parameters=parameters, stored_bits=parameters * bits, architecture=FACTS,
            )  # fmt: skip
            subject = make.make_subject(f"rung-{i}", formats={"body": f"nf{bits}:b64"}, labels=labels)
            wobble = [0.02 * ((i * 7 + bits + j * 3) % 5 - 2) * n for j, n in enumerate(SIZES)]
            code_lengths = [
                b - n * gain_of(parameters, bits) + w for b, n, w in zip(BASE, SIZES, wobble, strict=True)
            ]
            measurements.append(
                make.make_measurement(code_lengths, subject=subject, numerator=sum(code_lengths))
            )
    with open_store(path, create=True) as opened:
        opened.put(measurements)
    return str(path)


def test_advice_from_a_store(store, capsys):
    # rung-5 takes 24.3e6 parameters x 4 bits = 11.6 MiB and does not fit at 8 bits in 16 MiB
    assert run(["advise", "--store", store, "--memory-gib", "0.015625", "--context", "128", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"choices", "assumptions"} <= set(answer)
    best = answer["choices"][0]
    assert {"model", "format", "memory_gib", "gain", "ci95"} <= set(best)
    assert (best["model"], best["format"]) == ("rung-5", "nf4:b64")
    assert best["weights_bytes"] == 24_300_000 * 4 / 8
    assert best["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 2
    assert {(o["model"], o["format"]) for o in answer["left_out"]} == {("rung-5", "nf8:b64")}


def test_words_name_ties_reasons_and_assumptions(store, capsys):
    assert run(["advise", "--store", store, "--memory-gib", "1", "--context", "128"]) == 0
    out = capsys.readouterr().out
    assert "gains most of what fits" in out
    assert "1 GiB = 2^30 bytes" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--memory-gib", "-1", "--context", "8"], 2, "memory_gib must be positive"),
        (["--memory-gib", "1", "--context", "0"], 2, "context must be positive"),
        (["--memory-gib", "1", "--context", "8", "--text", "none"], 1, "no gain on text 'none'"),
        (["--memory-gib", "1", "--context", "8", "--study", "none"], 1, "holds no study 'none'"),
        (["--memory-gib", "1"], 2, "--context"),
    ],
)
def test_errors_name_the_remedy(store, capsys, arguments, code, message):
    assert run(["advise", "--store", store, *arguments]) == code
    assert message in capsys.readouterr().err


CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256,
    "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 4096, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "unmeasured.json"
    file.write_text(json.dumps(CONFIG))
    return str(file)


def test_a_config_alone_tells_memory_and_speed_of_what_was_not_measured(config, capsys):
    given = ["advise", "--model", config, "--memory-gib", "1", "--context", "2048", "--bandwidth-gb-s", "20"]
    assert run([*given, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [c["format"] for c in answer["choices"]] == ["bf16", "int8:b64", "nf4:b64", "nf3:b64"]
    for c in answer["choices"]:
        assert (c["basis"], c["gain"], c["prediction95"]) == ("memory", None, None)
        assert c["kv_bytes"] == 2048 * 2 * 4 * 2 * 64 * 2
        assert c["step_bytes"] == c["weights_bytes"] + c["kv_bytes"]  # the table is tied, so it is read whole
        assert c["tokens_per_s"] == pytest.approx(20e9 / c["step_bytes"])
    assert run(given) == 0
    assert "not measured" in capsys.readouterr().out


def test_what_was_not_measured_is_predicted_by_a_law_and_marked(store, config, capsys):
    given = ["advise", "--store", store, "--model", config, "--format", "nf4:b64", "nf2:b64",
             "--memory-gib", "1", "--context", "128"]  # fmt: skip
    assert run([*given, "--law", "offset-by-bits", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    predicted = {c["format"]: c for c in answer["choices"] if c["basis"] == "predicted"}
    assert set(predicted) == {"nf4:b64", "nf2:b64"}
    parameters = 4 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 704 + 2 * 256) + 256 + 4096 * 256
    for name, choice in predicted.items():
        low, high = choice["prediction95"]
        truth = gain_of(parameters, int(name[2]))
        assert low <= truth <= high < low + 0.5
        assert choice["gain"] == pytest.approx(truth, abs=0.1)
        assert choice["extrapolation"] == 1.0
    assert answer["choices"][0]["basis"] == "measured"
    assert any("Predicted gains are those of the law offset-by-bits" in a for a in answer["assumptions"])
    assert run([*given, "--law", "offset-by-bits"]) == 0
    assert "predicted" in capsys.readouterr().out


def test_a_saved_fit_predicts_without_a_store(store, config, tmp_path, capsys):
    saved = str(tmp_path / "fit.json")
    assert (
        run(["fit", "--law", "offset-by-bits", "--store", store, "--resamples", "50", "--save", saved]) == 0
    )
    capsys.readouterr()
    assert run(["advise", "--fit", saved, "--model", config, "--format", "nf4:b64", "--memory-gib", "1",
                "--context", "8", "--json"]) == 0  # fmt: skip
    (choice,) = json.loads(capsys.readouterr().out)["choices"]
    assert choice["basis"] == "predicted"
    assert choice["gain"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory-gib", "1", "--context", "8"], "say what there is to choose from"),
        (["--memory-gib", "1", "--context", "8", "--flops", "1e20"], "--context would say nothing there"),
        (
            ["--store", "x", "--memory-gib", "1", "--context", "8", "--law", "power-law"],
            "name them with --model",
        ),
        (["--store", "x", "--memory-gib", "1", "--context", "8", "--bits", "4"], "--bits would say nothing"),
        (
            ["--model", "x.json", "--memory-gib", "1", "--context", "8", "--law", "power-law"],
            "give --store too",
        ),
    ],
)
def test_a_question_half_asked_is_refused(capsys, arguments, message):
    assert run(["advise", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_store(tmp_path, capsys):
    assert run(["advise", "--store", str(tmp_path / "none"), "--memory-gib", "1", "--context", "8"]) == 1
    assert "there is no store" in capsys.readouterr().err


def test_fit_of_a_store_uses_gains_and_holds_out_the_top_rung(store, capsys):
    assert run(["fit", "--law", "offset-by-bits", "--store", store, "--resamples", "50", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["response"] == "gain"
    assert answer["held_out"]["models"] == ["rung-5"]
    assert answer["parameters"]["offset[2]"] == pytest.approx(0.8, abs=0.05)


def test_fit_of_a_store_refuses_mixed_metrics(store, capsys):
    assert run(["fit", "--law", "power-law", "--store", store, "--column", "loss=value", "--resamples", "20",
                "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["response"] == "loss"


def test_frontier_of_a_store(store, capsys):
    assert run(["frontier", "--store", store, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["families"]) == ["rungs"]
    assert next(iter(answer["total"]["wins"])) == "4"
    sizes = [p["stored_bits"] for p in answer["pareto"]]
    assert sizes == sorted(sizes)
