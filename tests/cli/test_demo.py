"""`kbit demo`: the glue over a family of two tiny models, and the shipped ladder itself where it is."""

import contextlib
import json

import pytest

from kbit import ladder
from kbit.cli.app import run as kbit
from kbit.cli.demo import KS, best_formats
from kbit.corpus import Document


def test_formats_are_the_nearest_to_shannon_at_what_they_store():
    rows = [
        {"name": "a4", "alias": None, "bits": 4, "distance_bits": 0.9, "gaussian_mse": 0.010},
        {
            "name": "b4",
            "alias": None,
            "bits": 4,
            "distance_bits": 1.1,
            "gaussian_mse": 0.008,
        },  # stores offsets
        {"name": "d4", "alias": None, "bits": 4, "distance_bits": 0.1, "stored_table": True},
        {"name": "c4", "alias": None, "bits": 4, "distance_bits": None, "gaussian_mse": None},
        {"name": "a3", "alias": "float3", "bits": 3, "distance_bits": 1.0, "gaussian_mse": 0.1},
    ]
    assert best_formats([4, 3], rows=rows) == ["a4:b64", "float3:b64"]


def test_formats_of_the_demo_exist_and_have_their_k():
    from kbit.formats import parse_format

    chosen = [parse_format(f) for f in best_formats(KS)]
    assert [fmt.bits for fmt in chosen] == list(KS)
    assert not any(fmt.datatype.window for fmt in chosen)  # types without a fast product


@pytest.fixture
def tiny_ladder(tiny_family, monkeypatch):
    held = [Document(name=str(i), text=f"Sentence {i} of a text nobody learnt.\n") for i in range(4)]
    train = [Document(name="x", text="Some other words to fit a baseline to.\n" * 5)]
    monkeypatch.setattr(ladder, "rungs", lambda: tiny_family)
    monkeypatch.setattr(ladder, "held_out", lambda: held)
    monkeypatch.setattr(ladder, "train", lambda: train)


@pytest.mark.slow
def test_interrupted_then_whole_then_all_reused(tiny_ladder, tmp_path, capsys, monkeypatch):
    from kbit.cli import demo

    out = tmp_path / "demo"
    call = ["demo", "--out", str(out), "--json"]

    @contextlib.contextmanager
    def interrupted(_plan):
        seen = []

        def on_outcome(outcome):
            seen.append(outcome)
            if len(seen) == 4:
                raise KeyboardInterrupt

        yield on_outcome

    with monkeypatch.context() as patch:
        patch.setattr(demo, "study_progress", interrupted)
        try:
            code = kbit(call)
        except SystemExit as stop:  # what the command-line library makes of an interruption
            code = stop.code
    assert code == 130
    assert not (out / "report.html").exists()
    capsys.readouterr()

    assert kbit(call) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["reused"] >= 4
    assert first["reused"] + first["measured"] == first["total"] == first["done"]
    for path in (first["report"], first["store"], *first["pictures"]):
        assert (tmp_path / path).is_file()
    assert {"bf16", *first["formats"]} == {
        c["format"] for c in [*first["advice"]["choices"], *first["advice"]["left_out"]]
    }
    assert len(first["advice"]["choices"]) == 12  # two models, six formats: all fit in 4 MiB

    assert kbit(call[:-1]) == 0
    out, err = capsys.readouterr()
    assert f"{first['total']} of {first['total']} rows measured, {first['total']} of them before" in err
    words = " ".join(out.split())
    assert "k = 16 k = 8 k = 6 k = 4 k = 3 k = 2" in words
    assert " ".join(first["headline"].split()) in words
    best = first["advice"]["choices"][0]
    assert f"In 4 MiB with 128 tokens: {best['model']} {best['format']}" in words


def test_something_else_in_the_store_s_place_is_left_as_it_is(tiny_ladder, tmp_path, capsys):
    (tmp_path / "demo.sqlite").write_text("mine")
    assert kbit(["demo", "--out", str(tmp_path), "--json"]) == 1
    assert "not an SQLite file" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert (tmp_path / "demo.sqlite").read_text() == "mine"


def test_a_file_in_the_folder_s_place_is_an_error(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert kbit(["demo", "--out", str(tmp_path / "taken"), "--json"]) == 1
    assert "taken" in json.loads(capsys.readouterr().out)["error"]["message"]
