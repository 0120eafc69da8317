"""`kbit latent` as a user calls it, on a model trained in a second; and what else reads such a model."""

import csv
import json
import random

import pytest

from kbit.cli.app import run

WORDS = {
    "food": "soup bread cheese apple rice butter honey pepper",
    "sky": "moon star cloud wind rain comet sun storm",
}
RECIPE = """
name = "tiny"
[text]
paths = ["{folder}/text.csv"]
field = "words"
held_out_share = 0.2
[tokenizer]
vocabulary = 520
[model]
hidden = 16
layers = 1
encoder_layers = 1
heads = 2
intermediate = 32
latent = 4
context = 24
[training]
steps = 4
batch_texts = 8
[evaluation]
texts = 16
samples = 4
[gan]
steps = 1
discriminator_pretraining = 1
batch_texts = 6
rollouts = 1
rollout_every = 8
samples = 12
temperatures = [0.7, 1.4]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("latent")
    chooser = random.Random(1)
    made = ["".join(chooser.choices("abcdefghijklmnoprstuvw", k=5)) for _ in range(400)]
    with (place / "text.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "words"])
        for i in range(90):
            kind = "food" if i % 2 else "sky"
            words = chooser.choices(WORDS[kind].split(), k=4) + chooser.choices(made, k=6)
            writer.writerow([kind, f"The {' '.join(words)} {i}. A {words[0]}!"])
    (place / "recipe.toml").write_text(RECIPE.format(folder=place))
    assert run(["latent", "train", "vae", str(place / "recipe.toml"), "--out", str(place / "out")]) == 0
    return place


def called(capsys, *tokens):
    capsys.readouterr()
    code = run([str(t) for t in [*tokens, "--json"]])
    return code, json.loads(capsys.readouterr().out)


def test_training_tells_both_bounds(folder, capsys):
    code, data = called(capsys, "latent", "train", "vae", folder / "recipe.toml", "--out", folder / "out")
    assert code == 0
    [variant] = data["variants"]
    figures = variant["held_out"]
    assert figures["elbo_bits_per_byte"] > 0
    assert 0 <= figures["active_units"] <= 4
    assert figures["rate_nats"] >= 0
    assert figures["reconstruction_bleu"] is not None or "bleu" in figures["reason"]


def test_measure_gives_the_gain_ladder_and_quantises(folder, capsys):
    text = folder / "out" / "held-out.jsonl"
    baseline = ["--baseline-text", folder / "out" / "training.jsonl"]
    code, data = called(capsys, "measure", folder / "out" / "vae", "--text", text, *baseline)
    assert code == 0
    assert data["lossless"]
    assert data["gains"]["kneser-ney-6"]["gain"] < 0
    assert data["coder"]["bound"] == "importance-weighted"
    code, packed = called(capsys, "measure", folder / "out" / "vae", "--text", text, "--format", "int4:b16")
    assert code == 0
    assert packed["divergence"] is None
    assert packed["stored_bits"] < data["stored_bits"]
    assert packed["bits"] == pytest.approx(data["bits"], rel=0.1)
    assert packed["bits"] != data["bits"]
    code, many = called(capsys, "measure", folder / "out" / "vae", "--text", text, "--samples", 64)
    assert many["coder"]["samples"] == 64


def test_a_study_sweeps_it(folder, capsys):
    (folder / "study.toml").write_text(
        'name = "s"\nmodels = ["out/vae"]\nformats = ["bf16", "int4:b16"]\ntexts = ["out/held-out.jsonl"]\n'
        'baseline_texts = ["out/training.jsonl"]\n'
    )
    code, data = called(capsys, "study", "run", folder / "study.toml", "--store", folder / "s.sqlite")
    assert code == 0, data
    assert data["failed"] == 0
    code, rows = called(capsys, "study", "export", folder / "study.toml", "--store", folder / "s.sqlite")
    found = {(row["format"], row["metric"]) for row in rows["rows"] if row["model"] == "vae"}
    assert found == {("bf16", "bits_per_byte"), ("int4:b16", "bits_per_byte")}


@pytest.mark.parametrize("suffix", ["html", "svg", "png"])
def test_map(folder, capsys, suffix):
    pytest.importorskip("sklearn", reason="needs the extra 'latent'")
    out = folder / f"map.{suffix}"
    code, data = called(
        capsys, "latent", "map", folder / "out" / "vae", "--text", folder / "text.csv", "--field", "words",
        "--label", "kind", "--out", out, "--planes", "pca", "--samples", 3,
        "--interpolate", "The soup.", "The moon.",
    )  # fmt: skip
    assert code == 0, data
    assert out.stat().st_size > 5_000
    assert data["texts"] == 90
    assert data["dimensions"] == 4
    assert data["clusters"] == 2
    assert -1 <= data["adjusted_rand"] <= 1
    assert len(data["prior"]) == 3
    assert len(data["path"]) == 7
    assert data["path_ends"] == ["The soup.", "The moon."]
    assert data["without_label"] == 0


def test_the_map_of_any_language_model(folder, capsys, tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra 'latent'")
    from kbit.ladder import rungs

    model = rungs()[0]
    out = tmp_path / "map.html"
    place = getattr(model, "path", model)
    options = ["--field", "words", "--label", "kind", "--out", out, "--planes", "pca", "--texts", 20]
    code, data = called(capsys, "latent", "map", place, "--text", folder / "text.csv", *options)
    assert code == 0, data
    assert data["prior"] == []
    assert data["texts"] == 20
    assert "comet" in out.read_text()


def test_samples_are_what_compare_reads(folder, capsys, tmp_path):
    out = tmp_path / "made.jsonl"
    code, data = called(capsys, "latent", "sample", folder / "out" / "vae", "--n", 12, "--out", out)
    assert code == 0
    assert data["texts"] + data["empty"] == 12
    code, found = called(capsys, "compare", out, "--human", folder / "out" / "held-out.jsonl")
    assert code == 0
    assert found["figures"]["distinct_2"]["generated"] is not None


def test_a_gan_stands_beside_its_sweep(folder, capsys, tmp_path):
    code, data = called(capsys, "latent", "train", "gan", folder / "recipe.toml", "--out", tmp_path / "gan")
    assert code == 0, data
    assert [(p["name"], p["temperature"]) for p in data["points"]] == [
        ("maximum likelihood", 0.7), ("maximum likelihood", 1.4), ("adversarial", 1.0),
    ]  # fmt: skip
    assert data["verdict"]["winner"] in ("gan", "sweep", "undecided")
    assert set(data["verdict"]["by_seed"]) == {"1"}
    assert (tmp_path / "gan" / "plane.svg").read_text().startswith("<svg")
    entropy = [p["figures"]["decoding_entropy"]["generated"]["value"] for p in data["points"]]
    assert entropy[0] < entropy[1]


@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        (["latent", "train", "vae", "missing.toml", "--out", "x"], "tinystories-vae.toml"),
        (["latent", "train", "gan", "{recipe}", "--out", "x", "--only", "vae"], "--only"),
        (["latent", "train", "vae", "{recipe}", "--out", "x", "--threads", "0"], "--threads"),
        (["latent", "sample", "{vae}", "--out", "x.txt"], ".jsonl"),
        (["latent", "sample", "{vae}", "--out", "x.jsonl", "--n", "0"], "--n"),
        (["latent", "map", "{vae}", "--text", "{text}", "--out", "x.pdf"], ".html"),
        (["latent", "map", "{vae}", "--text", "{text}", "--field", "wrods", "--out", "x.html"], "wrods"),
        (["latent", "map", "{vae}", "--text", "{text}", "--out", "x.html", "--clusters", "0"], "--clusters"),
        (
            [
                "latent",
                "map",
                "{vae}",
                "--text",
                "{text}",
                "--field",
                "words",
                "--out",
                "x.html",
                "--label",
                "kinds",
            ],
            "kinds",
        ),
        (["measure", "{vae}", "--text", "{held}", "--context", "16"], "--context"),
        (["measure", "{vae}", "--text", "{held}", "--by"], "latent space"),
        (["latent", "trian"], "train"),
    ],
)
def test_errors_name_what_is_wrong(folder, capsys, tokens, named):
    places = {"recipe": folder / "recipe.toml", "vae": folder / "out" / "vae", "text": folder / "text.csv",
              "held": folder / "out" / "held-out.jsonl"}  # fmt: skip
    code, data = called(capsys, *(t.format(**places) for t in tokens))
    assert code in (1, 2)
    assert named in data["error"]["message"]
