"""Several token counts from one stable run: each is the run it would have been alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kbit.corpus import Document
from kbit.corpus.excerpt import pieces
from kbit.errors import TrainingError
from kbit.training.branches import runs_of, steps_trained
from kbit.training.log import read_log
from kbit.training.prepare import PREPARED, prepare
from kbit.training.pretrain import pretrain
from kbit.training.reading import read_recipe
from kbit.training.run import LOG, train_run

from .conftest import make_recipe

STEP = 64  # tokens


@pytest.fixture
def branched(recipe):
    """The small rung at 10, 20 and 30 steps."""
    small = replace(recipe.rungs[0], tokens=30 * STEP, branches=(10 * STEP, 20 * STEP))
    return replace(recipe, rungs=(small,), training=replace(recipe.training, warmup_share=0.2))


def train(recipe, run, prepared, work):
    return train_run(run, recipe, prepared.stream(), work=work, text_hash=prepared.training_hash)


def losses(folder):
    return {record["step"]: record["loss_nats"] for record in read_log(folder / LOG)}


def test_steps_and_names(branched):
    runs = runs_of(branched.rungs[0], branched)
    assert [run.name for run in runs] == ["small-640", "small-1.28k", "small"]
    assert [(run.steps, run.decay_start) for run in runs] == [(10, 6), (20, 12), (30, 18)]
    assert {run.warmup_steps for run in runs} == {2.0}
    assert steps_trained(branched.rungs[0], branched) == 30 + 4 + 8


def test_each_branch_is_the_run_it_would_have_been_alone(branched, tmp_path):
    prepared = prepare(branched, tmp_path / "out")
    work = tmp_path / "work"
    for run in runs_of(branched.rungs[0], branched):
        trained = train(branched, run, prepared, work)
        part = replace(branched.training, warmup_share=2 / run.steps)
        alone = replace(branched, training=part)
        lone = replace(runs_of(replace(run.rung, tokens=run.tokens, branches=()), alone)[0], name="alone")
        other = train(alone, lone, prepared, tmp_path / run.name)
        expected = losses(tmp_path / run.name / "alone")
        found = losses(work / "small-trunk") | losses(work / run.name)
        assert {step: found[step] for step in range(run.steps)} == expected
        assert set(losses(work / run.name)) == set(range(run.decay_start, run.steps))
        assert trained.prequential_bits_per_byte == other.prequential_bits_per_byte
        for a, b in zip(trained.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_branch_that_comes_too_late_is_refused(branched, tmp_path):
    prepared = prepare(branched, tmp_path / "out")
    for run in runs_of(branched.rungs[0], branched):
        train(branched, run, prepared, tmp_path / "work")
    late = replace(branched.rungs[0], branches=(10 * STEP, 15 * STEP))
    with pytest.raises(TrainingError, match=r"small-960 would branch off at step 9.* stands at 18"):
        train(branched, runs_of(late, branched)[1], prepared, tmp_path / "work")


def test_a_family_has_a_folder_for_each_branch(tmp_path):
    file = make_recipe(tmp_path, steps=12)
    file.write_text(file.read_text() + f"branches = [{6 * STEP}]\n")
    recipe = read_recipe(file)
    family = pretrain(recipe, tmp_path / "out", only=["large-384"], jobs=1, threads=1)
    assert [record["rung"] for record in family.records] == ["large-384"]
    family = pretrain(recipe, tmp_path / "out", jobs=1, threads=1)
    assert [(r["rung"], r["steps"], r["tokens"]) for r in family.records] == [
        ("small", 12, 768),
        ("large-384", 6, 384),
        ("large", 12, 768),
    ]
    assert [(pair.smaller, pair.larger) for pair in family.neighbours] == [
        ("large-384", "large"),
        ("small", "large"),
    ]
    assert all((tmp_path / "out" / r["rung"] / "model.safetensors").exists() for r in family.records)


@pytest.mark.parametrize("branches", ["[0]", "[2000]", "[128, 64]", "[64, 64]"])
def test_branches_must_rise_below_the_whole(branches, tmp_path):
    file = make_recipe(tmp_path, steps=12)
    file.write_text(file.read_text() + f"branches = {branches}\n")
    with pytest.raises(TrainingError, match=r"large\.branches .* rising token counts below the rung's 768"):
        read_recipe(file)


def test_prepared_text_is_kept_until_something_changes(recipe, tmp_path, monkeypatch):
    first = prepare(recipe, tmp_path / "out")
    stamp = (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns
    assert prepare(recipe, tmp_path / "out") == first
    assert (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns == stamp
    other = replace(recipe, text=replace(recipe.text, held_out_share=0.5))
    second = prepare(other, tmp_path / "out")
    assert second.training_hash != first.training_hash
    assert json.loads((tmp_path / "out" / PREPARED).read_text())["training_hash"] == second.training_hash
    with Path(recipe.text.paths[0]).open("a") as file:
        file.write(json.dumps({"name": "more", "text": "one document more"}) + "\n")
    third = prepare(other, tmp_path / "out")
    assert (third.training_hash, third.held_out_hash) != (second.training_hash, second.held_out_hash)


def test_held_out_pieces_stand_for_the_whole(recipe, tmp_path):
    whole = prepare(recipe, tmp_path / "whole")
    cut = prepare(
        replace(recipe, text=replace(recipe.text, held_out_bytes=3000, held_out_piece_bytes=500)),
        tmp_path / "cut",
    )
    assert cut.training_hash == whole.training_hash
    assert 1500 < cut.held_out_bytes <= 3000
    titles = {document.name.split("#")[0] for document in cut.held_out()}
    assert titles <= {document.name for document in whole.held_out()}
    assert len(titles) > 3
    text_of = {document.name: document.text for document in whole.held_out()}
    assert all(piece.text in text_of[piece.name.split("#")[0]] for piece in cut.held_out())


def test_pieces_are_whole_lines_and_characters_and_lose_nothing():
    book = Document(name="book", text="一二三四五六七八九十\nabc\n" * 50 + "x" * 700)
    cut = pieces([book], total_bytes=10**6, piece_bytes=300)
    assert "".join(piece.text for piece in cut) == book.text
    assert max(piece.bytes for piece in cut) <= 300
    assert [piece.name for piece in cut[:2]] == ["book#00000", "book#00001"]
    assert cut[0].text.endswith("\n")
    chinese = Document(name="one line", text="汉" * 1000)
    assert "".join(p.text for p in pieces([chinese], total_bytes=10**6, piece_bytes=256)) == chinese.text
    few = pieces([book], total_bytes=900, piece_bytes=300)
    assert 0 < sum(piece.bytes for piece in few) <= 900
