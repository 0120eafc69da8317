"""`kbit measure` from the command line, on a tiny model and on the shared one."""

import importlib.util
import json
from pathlib import Path

import pytest

from kbit.cli.app import run

TEXTS = [
    "The hen is in the tin, and there the other hen is.",
    "天地玄黄,宇宙洪荒。",
    "",
    "then he said: there, there\n" * 9,
]


@pytest.fixture(scope="module")
def tiny():
    path = Path(__file__).parent.parent / "coders" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    return file


@pytest.fixture
def baseline_text(tmp_path):
    file = tmp_path / "baseline.txt"
    file.write_text("the other hen said that there is a tin. " * 20)
    return file


def measure(capsys, *arguments) -> dict:
    code = run(["measure", *map(str, arguments), "--json"])
    out = capsys.readouterr().out
    assert code == 0, out
    return json.loads(out)


def test_figures_against_an_independent_forward_pass(capsys, tiny, folder, text):
    found = measure(capsys, folder, "--text", text)
    tokenizer, reference = tiny.tokenizer(), tiny.NumpyLlama.read(folder)
    ids = [tokenizer(t, add_special_tokens=False).input_ids for t in TEXTS]
    assert found["bytes"] == sum(len(t.encode()) for t in TEXTS)
    assert found["characters"] == sum(map(len, TEXTS))
    assert found["tokens"] == sum(map(len, ids))
    assert found["documents"] == 4
    assert found["lossless"] is True
    assert found["bytes_lost"] == 0
    short = [i for i in ids[:2] if len(i) <= 64]
    assert len(short) == 2
    one = text.with_name("one.jsonl")
    one.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS[:2]))
    assert measure(capsys, folder, "--text", one)["bits"] == pytest.approx(
        sum(reference.bits(0, i).sum() for i in short), abs=1e-4
    )
    assert found["bits_per_byte"] == pytest.approx(found["bits"] / found["bytes"])
    assert found["bits_per_character"] == pytest.approx(found["bits"] / found["characters"])
    low, high = found["ci95"]
    assert low < found["bits_per_byte"] < high


def test_without_baseline_text_the_headline_is_absent_not_zero(capsys, folder, text):
    found = measure(capsys, folder, "--text", text)
    assert set(found["gains"]) == {"uniform", "unigram"}
    assert found["headline"]["gain"] is None
    assert "--baseline-text" in found["headline"]["reason"]
    assert found["break_even_bytes"] is None
    assert found["divergence"] is None
    uniform = found["gains"]["uniform"]
    assert uniform["bits_per_byte"] == 8
    assert uniform["gain"] == pytest.approx(8 - found["bits_per_byte"])


def test_ladder_of_baselines(capsys, folder, text, baseline_text):
    found = measure(capsys, folder, "--text", text, "--baseline-text", baseline_text)
    assert set(found["gains"]) == {"uniform", "unigram", "kneser-ney-6"}
    for figures in found["gains"].values():
        assert figures["gain"] == pytest.approx(figures["bits_per_byte"] - found["bits_per_byte"])
        assert figures["ci95"][0] <= figures["gain"] <= figures["ci95"][1]
    assert found["headline"]["gain"] == found["gains"]["kneser-ney-6"]["gain"]
    assert found["stored_bits"] > 0
    some = measure(
        capsys,
        folder,
        "--text",
        text,
        "--baseline-text",
        baseline_text,
        "--baselines",
        "kneser-ney-2",
        "uniform",
    )
    assert set(some["gains"]) == {"uniform", "kneser-ney-2"}
    assert "--baselines" in some["headline"]["reason"]


def test_divergence(capsys, folder, other, text):
    same = measure(capsys, folder, "--text", text, "--against", folder)["divergence"]
    assert (same["kl_bits"], same["top1_agreement"]) == (0, 1)
    found = measure(capsys, folder, "--text", text, "--against", other)
    assert found["divergence"]["kl_bits_per_byte"] > 0.1
    alone = measure(capsys, other, "--text", text)
    assert found["divergence"]["reference_bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=1e-6)


def test_format_quantises_first(capsys, folder, text, baseline_text):
    whole = measure(capsys, folder, "--text", text, "--baseline-text", baseline_text)
    found = measure(capsys, folder, "--text", text, "--baseline-text", baseline_text, "--format", "int8:b32")
    assert found["stored_bits"] < whole["stored_bits"]
    assert found["divergence"]["against"] == str(folder)
    assert found["divergence"]["reference_bits_per_byte"] == pytest.approx(whole["bits_per_byte"], rel=1e-6)
    assert 0 < found["divergence"]["kl_bits_per_byte"] < 0.1
    coarse = measure(capsys, folder, "--text", text, "--format", "int2:b32")["divergence"]
    assert coarse["kl_bits_per_byte"] > 10 * found["divergence"]["kl_bits_per_byte"]
    assert coarse["top1_agreement"] < found["divergence"]["top1_agreement"]


def test_settings_are_told(capsys, folder, text):
    found = measure(
        capsys,
        folder,
        "--text",
        text,
        "--context",
        32,
        "--stride",
        8,
        "--prefix",
        "</s>",
        "--dtype",
        "bfloat16",
    )
    assert found["numerics"]["forward"] == "bfloat16"
    coder = found["coder"]
    assert (coder["context"], coder["stride"], coder["prefix_token"], coder["prefix_rule"]) == (
        32,
        8,
        "</s>",
        "given",
    )


def test_one_document_has_no_interval(capsys, folder, baseline_text):
    found = measure(capsys, folder, "--text", baseline_text)
    assert found["ci95"] is None
    assert "one document" in found["ci95_reason"]
    assert found["gains"]["uniform"]["ci95"] is None


def test_text_in_the_baseline_text_is_warned_of(capsys, folder, baseline_text):
    found = measure(capsys, folder, "--text", baseline_text, "--baseline-text", baseline_text)
    assert any("baseline text too" in warning for warning in found["warnings"])


def test_for_a_person(capsys, folder, text, baseline_text):
    assert run(["measure", str(folder), "--text", str(text), "--baseline-text", str(baseline_text)]) == 0
    out = capsys.readouterr().out
    for word in ("kneser-ney-6", "uniform", "bits/byte", "stored bits", "bits per character"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--text", "nowhere.txt"], 1, "nowhere.txt"),
        (["--text", "{text}", "--context", "65"], 2, "at most 64"),
        (["--text", "{text}", "--context", "8", "--stride", "9"], 2, "--stride"),
        (["--text", "{text}", "--baselines", "kneser-ney-6"], 1, "--baseline-text"),
        (["--text", "{text}", "--baselines", "kneser"], 2, "kbit ls coders"),
        (["--text", "{text}", "--prefix", "<nothing>"], 2, "not one token"),
        (["--text", "{text}", "--resamples", "0"], 2, "--resamples"),
        (["--text", "{empty}"], 2, "every document in it is empty"),
        (["--text", "{text}", "--dtype", "float16"], 2, "dtype"),
        ([], 2, "text"),
    ],
)
def test_errors(capsys, folder, text, tmp_path, arguments, code, message):
    empty = tmp_path / "empty.txt"
    empty.touch()
    filled = [a.format(text=text, empty=empty) for a in arguments]
    assert run(["measure", str(folder), *filled, "--json"]) == code
    captured = capsys.readouterr()
    assert message in json.loads(captured.out)["error"]["message"]
    assert message in captured.err


def test_different_tokenisers_cannot_be_compared(capsys, tiny, folder, text, tmp_path):
    tiny.model().save_pretrained(tmp_path / "m")
    changed = tiny.tokenizer()
    changed.add_tokens(["hen"])
    changed.save_pretrained(tmp_path / "m")
    assert run(["measure", str(folder), "--text", str(text), "--against", str(tmp_path / "m")]) == 1
    assert "different tokenisers" in capsys.readouterr().err


@pytest.mark.shared
def test_stories260k(capsys, shared, tiny, tmp_path):
    raw = (shared / "data/corpora/tinystories_sample/tinystories_sample.txt").read_text()
    stories = [s.strip() for s in raw.split("<|endoftext|>") if s.strip()]
    model = shared / "data/models/stories260K"
    reference = tiny.NumpyLlama.read(model)

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    chosen = [(s, tokenizer(s, add_special_tokens=False).input_ids) for s in stories[1000:1040]]
    chosen = [(s, ids) for s, ids in chosen if len(ids) < 512][:6]
    text, baseline = tmp_path / "text.jsonl", tmp_path / "baseline.jsonl"
    text.write_text("".join(json.dumps({"text": s}) + "\n" for s, _ in chosen))
    baseline.write_text("".join(json.dumps({"text": s}) + "\n" for s in stories[:900]))
    found = measure(capsys, model, "--text", text, "--baseline-text", baseline)
    # 1e-4 a document: the model's own forward pass is float32, the independent one float64.
    expected = sum(reference.bits(1, ids).sum() for _, ids in chosen)
    assert found["bits"] == pytest.approx(expected, abs=1e-4 * len(chosen))
    assert found["tokens"] == sum(len(ids) for _, ids in chosen)
    assert found["bytes"] == sum(len(s.encode()) for s, _ in chosen)
    assert found["gains"]["kneser-ney-6"]["gain"] > 0.5
    assert found["break_even_bytes"] == pytest.approx(found["stored_bits"] / found["headline"]["gain"])


def test_word_by_word(capsys, folder, other, text, baseline_text, tmp_path):
    tokens, page = tmp_path / "tokens.jsonl", tmp_path / "tokens.html"
    found = measure(capsys, folder, "--text", text, "--baseline-text", baseline_text, "--against", other,
                    "--by", "--by-token", tokens, "--page", page, "--resamples", "50")  # fmt: skip
    rows = [json.loads(line) for line in tokens.read_text().splitlines()]
    assert [row["text"] for row in rows] == [t for t in TEXTS if t]
    assert sum(sum(row["model_bits"]) for row in rows) == pytest.approx(found["bits"], rel=1e-4)
    reference = found["divergence"]["reference_bits_per_byte"] * found["bytes"]
    assert sum(sum(row["against_bits"]) for row in rows) == pytest.approx(reference, rel=1e-4)
    headline = found["gains"]["kneser-ney-6"]["bits_per_byte"] * found["bytes"]
    assert sum(sum(row["baseline_bits"]) for row in rows) == pytest.approx(headline, rel=1e-4)
    for kind in ("document", "script", "place", "frequency"):
        whole = sum(share["gain"] * share["bytes"] for share in found["by"][kind])
        assert whole == pytest.approx(found["headline"]["gain"] * found["bytes"], rel=1e-6)
    assert "Content-Security-Policy" in page.read_text()


def test_steps_and_memory(capsys, folder, text, baseline_text):
    found = measure(capsys, folder, "--text", text, "--baseline-text", baseline_text, "--trained-on", text,
                    "--resamples", "50")  # fmt: skip
    assert [step["to"] for step in found["ladder"][:-1]] == [step["from"] for step in found["ladder"][1:]]
    assert found["bits_per_character_ci95"][0] < found["bits_per_character"]
    # The same text on both sides: nothing is known by heart.
    assert found["memorisation"]["memorised"] == pytest.approx(0, abs=1e-9)
    assert found["by"] is None
    assert run(["measure", str(folder), "--text", str(text), "--by", "--resamples", "50"]) == 0
    assert "tokens before" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "told"), [
    (["--page", "tokens.txt"], "an .html file"),
    (["--by-token", "{}/text.jsonl"], "a text that is read"),
    (["--by-token", "{}"], "is a folder"),
])  # fmt: skip
def test_outputs_that_cannot_be(capsys, folder, text, tmp_path, arguments, told):
    assert run(["measure", str(folder), "--text", str(text), *(a.format(tmp_path) for a in arguments)]) == 2
    assert told in capsys.readouterr().err
    assert text.exists()


def test_documents_of_the_calibration_are_refused_or_named(capsys, folder, tmp_path):
    from kbit.corpus import read_documents
    from kbit.quantize import calibration_for, quantize_model

    documents = [{"name": f"d{i}", "text": f"then the hen {i} is in the tin there. " * 12} for i in range(4)]
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps(d) + "\n" for d in documents))
    read = tmp_path / "read.jsonl"
    read.write_text("".join(json.dumps(d | {"name": "another"}) + "\n" for d in documents[:2]))
    text = calibration_for(str(folder), list(read_documents([read])), tokens=300, context=32)
    quantize_model(folder, tmp_path / "out", format="uint4:b16", method="gptq", calibration=text)
    arguments = ["measure", str(tmp_path / "out"), "--text", str(file), "--baselines", "kt-0"]
    assert run(arguments) == 2
    assert "2 of 4 documents were read" in capsys.readouterr().err
    found = measure(capsys, *arguments[1:], "--allow-calibration-text")
    assert found["calibrated_on"] == ["d0", "d1"]
    read.write_text("".join(json.dumps(d) + "\n" for d in documents[2:]))
    arguments[3] = str(read)
    assert measure(capsys, *arguments[1:])["calibrated_on"] == []
