"""Memorised bits: against exact cases, and a small model that learns its data by heart."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kbit.cli.app import run
from kbit.errors import FormatError, TrainingError
from kbit.training import memorization
from kbit.training.memorization import Memorized, Probe, capacity, memorize, random_sequences, read_probe

RECIPE = """
name = "probe"
[probe]
vocabulary = 32
length = 9
sequences = [8, 24]
epochs = 150
formats = ["bf16", "int8:b16", "int2:b16"]
[model]
head_width = 16
context = 16
[training]
batch_windows = 8
learning_rate = 2e-2
reference_hidden = 32
weight_decay = 0.0
compile = false
[[models]]
name = "small"
hidden = 32
layers = 1
intermediate = 64
"""


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "probe.toml"
    file.write_text(RECIPE)
    return file


def test_sequences_hold_the_bits_they_are_said_to():
    assert Probe().bits_per_sequence == 693.0
    tokens = random_sequences(Probe(vocabulary=8, length=64), 2000, seed=3)
    counts = np.bincount(tokens.flatten(), minlength=8) / tokens.numel()
    assert -(counts * np.log2(counts)).sum() == pytest.approx(3.0, abs=1e-3)
    assert torch.equal(random_sequences(Probe(), 5, seed=3), random_sequences(Probe(), 9, seed=3)[:5])


class Oracle(torch.nn.Module):
    """Gives the right token of known sequences a probability of its own, the rest the others."""

    def __init__(self, sequences, probability, vocabulary):
        super().__init__()
        self.sequences, self.probability, self.vocabulary = sequences, probability, vocabulary

    def forward(self, input_ids, use_cache):
        rest = (1 - self.probability) / (self.vocabulary - 1)
        logits = torch.full((*input_ids.shape, self.vocabulary), math.log(rest))
        rows = [int((self.sequences[:, :-1] == row).all(1).nonzero()[0]) for row in input_ids]
        right = self.sequences[rows, 1:, None]
        return type("Output", (), {"logits": logits.scatter(2, right, math.log(self.probability))})


@pytest.mark.parametrize("probability", [1 / 32, 0.5, 0.999])
def test_code_lengths_are_those_of_the_probabilities(probability):
    sequences = random_sequences(Probe(vocabulary=32, length=9), 300, seed=0)
    found = memorization._code_length(Oracle(sequences, probability, 32), sequences)
    assert found == pytest.approx(-300 * 8 * math.log2(probability), rel=1e-5)


def test_a_small_model_learns_by_heart_and_two_bits_forget(recipe_file, tmp_path):
    rows = memorize(read_probe(recipe_file), tmp_path / "out")
    assert [(row.sequences, row.format) for row in rows] == [
        (n, name) for n in (8, 24) for name in ("bf16", "int8:b16", "int2:b16")
    ]
    by = {(row.sequences, row.format): row for row in rows}
    assert by[8, "bf16"].data_bits == 8 * 8 * 5
    assert by[8, "bf16"].memorized_bits > 0.95 * 320  # all of it: the model could hold more
    assert by[24, "bf16"].memorized_bits > by[8, "bf16"].memorized_bits
    for count in (8, 24):
        fine, coarse = by[count, "int8:b16"], by[count, "int2:b16"]
        assert fine.memorized_bits == pytest.approx(
            by[count, "bf16"].memorized_bits, abs=0.05 * fine.data_bits
        )
        assert coarse.memorized_bits < 0.8 * fine.memorized_bits
        assert coarse.stored_bits < fine.stored_bits < by[count, "bf16"].stored_bits
    row = by[24, "bf16"]
    assert row.loss_bits == pytest.approx((row.data_bits - row.memorized_bits) / (24 * 8))
    assert row.stored_bits == 16 * row.parameters


def test_finished_trainings_are_kept_until_the_recipe_changes(recipe_file, tmp_path, monkeypatch):
    recipe = read_probe(recipe_file)
    recipe = replace(recipe, probe=replace(recipe.probe, epochs=2, sequences=(8,), formats=("bf16",)))
    first = memorize(recipe, tmp_path / "out")
    trained = []
    real = memorization._train
    monkeypatch.setattr(memorization, "_train", lambda *a: trained.append(1) or real(*a))
    assert memorize(recipe, tmp_path / "out") == first
    assert not trained
    memorize(replace(recipe, seed=1), tmp_path / "out")
    assert trained
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["small-8.json"]


def test_capacity_is_the_most_over_amounts():
    def row(sequences, bits, name="bf16"):
        return Memorized(
            model="m", format=name, parameters=100, body_parameters=50, sequences=sequences,
            data_bits=999.0, memorized_bits=bits, stored_bits=1600, loss_bits=1.0,
        )  # fmt: skip

    rows = [row(1, 10.0), row(2, 360.0), row(4, 350.0), row(2, 5.0, "int2:b16")]
    assert [item.sequences for item in capacity(rows)] == [2, 2]
    assert rows[1].bits_per_parameter == 3.6
    assert rows[1].bits_per_stored_bit == 0.225


def test_the_command_prints_rows(recipe_file, tmp_path, capsys):
    recipe_file.write_text(RECIPE.replace("150", "3").replace("[8, 24]", "[8]"))
    assert (
        run(["memorize", str(recipe_file), "--out", str(tmp_path / "out"), "--threads", "1", "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 3
    assert all(row["most"] for row in rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("vocabulary = 32", "vocabulary = 1"), "probe.vocabulary is 1; it must be 2 or more"),
        (("length = 9", "length = 20"), "model.context is 16; it must be probe.length or more"),
        (("sequences = [8, 24]", "sequences = []"), "probe.sequences"),
        (("epochs", "epoch"), "did you mean 'epochs'"),
        (("[[models]]", "[[model]]"), "."),
    ],
)
def test_bad_recipes_are_refused(change, said, recipe_file):
    recipe_file.write_text(RECIPE.replace(*change))
    with pytest.raises(TrainingError, match=said):
        read_probe(recipe_file)


def test_a_format_that_is_none_is_refused_before_training(recipe_file, tmp_path):
    recipe_file.write_text(RECIPE.replace("int2:b16", "int9"))
    with pytest.raises(FormatError, match="int9"):
        memorize(read_probe(recipe_file), tmp_path / "out")
