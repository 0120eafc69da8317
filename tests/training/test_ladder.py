"""The ladder that ships: what it promises, measured."""

import json

import pytest
import torch

from kbit import ladder
from kbit.coders import NgramCoder
from kbit.information import gain
from kbit.ladder.models import FOLDER
from kbit.models import load, load_tokenizer
from kbit.training.architecture import size_of
from kbit.training.branches import runs_of
from kbit.training.evaluate import held_out_lengths
from kbit.training.reading import read_recipe
from kbit.training.run import run_identity

from .test_recipe import SHIPPED


@pytest.fixture(scope="module")
def records():
    return [json.loads((folder / "training.json").read_text()) for folder in ladder.rungs()]


def test_seven_rungs_in_sixteen_megabytes():
    folders = ladder.rungs()
    assert [folder.name for folder in folders] == [f"rung-{i}" for i in range(1, 8)]
    assert sum((folder / "model.safetensors").stat().st_size for folder in folders) <= 16 * 10**6
    assert {(folder / "tokenizer.json").read_bytes() for folder in folders} == {
        (folders[0] / "tokenizer.json").read_bytes()
    }


def test_the_recipe_that_ships_made_them(records):
    recipe = read_recipe(SHIPPED)
    text = json.loads((FOLDER / "texts.json").read_text())
    for rung, record in zip(recipe.rungs, records, strict=True):
        assert record["run"] == run_identity(runs_of(rung, recipe)[0], recipe, text["training"]["hash"])
        size = size_of(rung, recipe.model, recipe.tokenizer.vocabulary)
        assert (record["parameters"], record["body_parameters"]) == (size.parameters, size.body_parameters)
        assert record["held_out_text_hash"] == text["held_out_whole"]["hash"]
        assert record["held_out_bits_per_byte"] == pytest.approx(
            record["held_out_bits"] / text["held_out_whole"]["bytes"]
        )


def test_neighbours_differ_by_more_than_three_standard_errors():
    pairs = ladder.manifest()["neighbours"]
    assert [(p["smaller"], p["larger"]) for p in pairs] == [
        (f"rung-{i}", f"rung-{i + 1}") for i in range(1, 7)
    ]
    for pair in pairs:
        assert pair["gain_bits_per_byte"] > 3 * pair["standard_error"]


def test_listing_has_a_row_a_rung(records):
    rows = ladder.listing()
    assert [row["name"] for row in rows] == [record["rung"] for record in records]
    assert all(row["format"] == "bf16" for row in rows)


@pytest.mark.slow
def test_the_top_rung_beats_the_headline_baseline():
    documents = ladder.held_out()
    baseline = list(NgramCoder.fit(ladder.train(), order=6).code_lengths(documents))
    folder = ladder.rungs()[-1]
    model = load(str(folder), dtype=torch.float32)
    lengths = held_out_lengths(
        model,
        load_tokenizer(str(folder)),
        documents,
        name=folder.name,
        context=model.config.max_position_embeddings,
    )
    assert all(item.lossless for item in lengths)
    estimate = gain(lengths, baseline)
    assert estimate.value > 3 * estimate.standard_error
    assert estimate.value == pytest.approx(0.570, abs=0.02)
