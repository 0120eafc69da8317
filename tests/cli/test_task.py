"""`kbit task`: what it prints, keeps, stores and refuses."""

import importlib.util
import json
from pathlib import Path

import pytest

from kbit.cli.app import run
from kbit.store import open_store

TINY = Path(__file__).parent.parent / "coders" / "tiny.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny", TINY)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    return tiny.folder(tmp_path_factory.mktemp("models") / "tiny-1", max_position_embeddings=128)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def lines(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


def told(capsys, *tokens):
    code = run(["task", *map(str, tokens), "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out), out.err


REVIEWS = [{"text": f"the hen {w}", "label": "pos" if i % 3 else "neg"} for i, w in enumerate("abcdefghi")]


def test_labels_are_judged_kept_and_stored(here, folder, capsys):
    pytest.importorskip("sklearn")
    data = lines(here / "r.jsonl", *REVIEWS)
    asked = ["run", "classification", folder, "--data", data, "--store", here / "s.sqlite"]
    code, out, _ = told(capsys, *asked)
    assert code == 0
    assert out["items"] == 9
    assert set(out["metrics"]) == {"accuracy", "balanced_accuracy", "macro_f1", "calibration_error"}
    accuracy = out["metrics"]["accuracy"]
    assert accuracy["baselines"]["majority-class"]["value"] == pytest.approx(6 / 9)
    assert accuracy["ci95"][0] <= accuracy["value"] <= accuracy["ci95"][1]
    assert sum(map(sum, out["confusion"])) == 9
    kept = Path(out["predictions"])
    assert len(kept.read_text().splitlines()) == 10
    with open_store(here / "s.sqlite") as store:
        rows = [r for r in store.rows() if r["metric"] == "classification.accuracy"]
    assert {r["model"] for r in rows} == {"tiny-1", "majority-class"}
    [row] = [r for r in rows if r["model"] == "tiny-1"]
    assert row["value"] == pytest.approx(accuracy["value"])
    assert (row["documents"], row["format"], row["kind"]) == (9, "bf16", "model")
    assert row["stored_bits"] > 0
    before = kept.read_bytes()
    code, again, _ = told(capsys, *asked)
    assert again["metrics"] == out["metrics"]
    assert kept.read_bytes() == before
    assert again["stored_rows"] == 0
    code, scored, _ = told(capsys, "score", "classification", kept, "--data", data)
    assert scored["metrics"]["macro_f1"] == out["metrics"]["macro_f1"]


def test_k_bits_are_another_subject_with_answers_of_its_own(here, folder, capsys):
    data = lines(here / "r.jsonl", *REVIEWS)
    common = ["run", "classification", folder, "--data", data, "--store", here / "s.sqlite"]
    _, full, _ = told(capsys, *common)
    _, packed, _ = told(capsys, *common, "--format", "int2:b16")
    assert packed["predictions"] != full["predictions"]
    assert packed["metrics"]["calibration_error"] != full["metrics"]["calibration_error"]
    with open_store(here / "s.sqlite") as store:
        rows = [r for r in store.rows() if r["metric"] == "classification.macro_f1" and r["kind"] == "model"]
    assert {(r["format"], r["method"]) for r in rows} == {("bf16", None), ("int2:b16", "nearest")}
    assert len({r["content"] for r in rows}) == 1
    assert len({r["stored_bits"] for r in rows}) == 2


def test_an_adapter_is_asked_beside_its_model(here, folder, capsys):
    pytest.importorskip("peft")
    rows = [{"text": f"room {n} is {'bad' if n % 2 else 'good'}", "label": "pn"[n % 2]} for n in range(12)]
    data = lines(here / "r.jsonl", *rows)
    tuned = ["--out", "tuned", "--rank", "4", "--epochs", "12", "--held-out-share", "0.3", "--threads", "1"]
    assert run(["finetune", str(folder), "--data", data, *tuned]) == 0
    capsys.readouterr()
    common = ["--data", data, "--store", here / "s.sqlite"]
    _, before, _ = told(capsys, "run", "classification", folder, *common)
    code, after, _ = told(capsys, "run", "classification", "tuned", *common)
    assert code == 0
    assert after["metrics"]["accuracy"]["value"] > before["metrics"]["accuracy"]["value"]
    with open_store(here / "s.sqlite") as store:
        rows = [r for r in store.rows() if r["metric"] == "classification.accuracy" and r["kind"] == "model"]
    assert len({r["content"] for r in rows}) == 2
    code, out, _ = told(capsys, "run", "classification", "tuned", *common, "--format", "int4:b16")
    assert code == 2
    assert "is an adapter beside its model" in out["error"]["message"]


def test_translations_are_written(here, folder, capsys):
    pytest.importorskip("sacrebleu")
    (here / "x.en").write_text("the hen\nin the inn\n")
    (here / "x.de").write_text("das Huhn\nim Gasthaus\n")
    data = ["--data", here / "x.en", here / "x.de"]
    code, out, _ = told(capsys, "run", "translation", folder, *data, "--max-new-tokens", "6")
    assert (code, out["language"]) == (0, "de")
    assert out["metrics"]["bleu"]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a")
    assert "copied-source" in out["metrics"]["chrf"]["baselines"]
    (here / "answers.txt").write_text("das Huhn\nim Gasthof\n")
    code, out, _ = told(capsys, "score", "translation", here / "answers.txt", *data)
    assert 40 < out["metrics"]["chrf"]["value"] < 100
    code, out, _ = told(capsys, "examples", "translation", "--out", here / "train.jsonl", *data)
    assert out["examples"] == 2
    first = json.loads((here / "train.jsonl").read_text().splitlines()[0])
    assert (first["prompt"], first["completion"]) == ("English: the hen\nGerman:", " das Huhn")


def test_replies_have_bits(here, folder, capsys):
    pytest.importorskip("sacrebleu")
    (here / "d.txt").write_text("Hi .__eou__Ho .__eou__\nWhat ?__eou__That !__eou__\n")
    code, out, _ = told(capsys, "run", "dialogue", folder, "--data", here / "d.txt", "--max-new-tokens", "5")
    assert code == 0
    bits = out["metrics"]["bits_per_byte"]
    assert bits["value"] > 1
    assert bits["baselines"]["unigram"]["value"] > 1
    assert bits["baselines"]["last-turn"]["value"] is None


def test_programs_run_only_when_asked(here, folder, capsys):
    code, out, _ = told(capsys, "run", "code", folder)
    assert code == 2
    assert "--run-programs" in out["error"]["message"]
    asked = ["--limit", "2", "--samples", "2", "--max-new-tokens", "4", "--run-programs", "--time-limit", "2"]
    code, out, _ = told(capsys, "run", "code", folder, "--too-long", "cut", *asked)
    assert code == 0
    assert out["metrics"]["pass_at_1"]["value"] == 0
    assert out["metrics"]["pass_at_5"]["value"] is None


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"text": "a", "label": "x"}, {"text": "b"}], "r.jsonl:2: no 'label'"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "every label is 'x'"),
        ([{"text": "a", "label": "x"}, {"text": "", "label": "y"}], "r.jsonl:2: 'text' is empty"),
        ([{"text": "a", "label": "x"}, {"text": "q" * 300, "label": "y"}], "r.jsonl:2: 308 tokens"),
    ],
)
def test_bad_data_is_told_by_file_and_line_before_anything_is_written(here, folder, capsys, records, message):
    data = lines(here / "r.jsonl", *records)
    code, out, err = told(capsys, "run", "classification", folder, "--data", data)
    assert code == 1
    assert message in out["error"]["message"]
    assert message in err
    assert not (here / "predictions").exists()


def test_wrong_calls(here, folder, capsys):
    data = lines(here / "r.jsonl", *REVIEWS)
    for tokens, message in (
        (["run", "translate", folder], "did you mean 'translation'"),
        (["run", "classification", folder], "classification needs --data"),
        (["run", "classification", folder, "--data", data, "--limit", "0"], "--limit 0"),
        (["run", "classification", folder, "--data", data, "--field", "lable=x"], "did you mean 'label'"),
        (
            ["run", "classification", folder, "--data", data, "--template", "{txt}"],
            "{txt}, which is not known",
        ),
        (["run", "classification", folder, "--data", data, "--samples", "0"], "--samples"),
        (["scores", "classification"], "did you mean 'score'"),
    ):
        code, out, _ = told(capsys, *tokens)
        assert code == 2, tokens
        assert message in out["error"]["message"]


def test_a_table_for_people(here, folder, capsys):
    data = lines(here / "r.jsonl", *REVIEWS)
    assert run(["task", "run", "classification", str(folder), "--data", data]) == 0
    shown = capsys.readouterr().out
    assert "majority-class" in shown
    assert "rows: the right class" in shown


def test_tasks_are_listed(capsys):
    assert run(["ls", "tasks", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"translation", "sentiment", "lambada", "topic-mining", "crows-pairs"} <= {r["name"] for r in rows}
