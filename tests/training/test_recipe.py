import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from kbit.errors import TrainingError
from kbit.training.architecture import size_of
from kbit.training.branches import runs_of
from kbit.training.reading import read_recipe
from kbit.training.run import run_identity

SHIPPED = Path(__file__).parents[2] / "recipes" / "tiny-ladder.toml"


def test_the_shipped_recipe_is_what_the_ladder_promises():
    recipe = read_recipe(SHIPPED)
    sizes = [size_of(rung, recipe.model, recipe.tokenizer.vocabulary) for rung in recipe.rungs]
    assert len(sizes) == 7
    assert 45_000 < sizes[0].body_parameters < 60_000
    assert 2_300_000 < sizes[-1].body_parameters < 2_600_000
    assert sum(size.stored_bytes for size in sizes) <= 16 * 10**6
    for rung in recipe.rungs:
        assert rung.hidden % 32 == 0
        assert rung.intermediate % 32 == 0
    ratios = [b.body_parameters / a.body_parameters for a, b in itertools.pairwise(sizes)]
    assert all(1.4 < ratio < 2.5 for ratio in ratios)


def test_hash_follows_values_not_spelling(tmp_path):
    text = SHIPPED.read_text()
    other = tmp_path / "other.toml"
    other.write_text("# a comment\n" + text.replace("2.5e-3", "0.0025"))
    assert read_recipe(other).hash == read_recipe(SHIPPED).hash
    other.write_text(text.replace("2.5e-3", "0.0026"))
    assert read_recipe(other).hash != read_recipe(SHIPPED).hash


def test_a_run_is_its_rung_not_its_neighbours(recipe):
    def identity(rung, recipe, text="t"):
        return run_identity(runs_of(rung, recipe)[-1], recipe, text)

    small, large = recipe.rungs
    alone = replace(recipe, name="other", rungs=(small,))
    assert identity(small, recipe) == identity(small, alone)
    changed = {
        identity(small, recipe),
        identity(large, recipe),
        identity(small, recipe, "u"),
        identity(replace(small, tokens=64), recipe),
        identity(replace(small, branches=(640,)), recipe),
        identity(small, replace(recipe, seed=4)),
        identity(small, replace(recipe, training=replace(recipe.training, learning_rate=1.0))),
        identity(small, replace(recipe, model=replace(recipe.model, residual_init="scaled"))),
    }
    assert len(changed) == 8
    often = replace(recipe, training=replace(recipe.training, checkpoint_steps=1))
    assert identity(small, recipe) == identity(small, often)
    evaluated = replace(recipe, text=replace(recipe.text, held_out_bytes=1000))
    assert identity(small, recipe) == identity(small, evaluated)


def test_steps_round_to_the_nearest_whole(recipe):
    small = recipe.rungs[0]
    counts = (1, 64, 95, 97, 6400)
    assert [runs_of(replace(small, tokens=t), recipe)[0].steps for t in counts] == [1, 1, 1, 2, 100]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("[training]", "[trainin]", ["unknown key 'trainin'", "did you mean 'training'"]),
        ("learning_rate", "learning_rates", ["unknown key 'learning_rates'", "did you mean 'learning_rate'"]),
        ("learning_rate = 2.5e-3", 'learning_rate = "big"', ["learning_rate is 'big'", "float"]),
        ("learning_rate = 2.5e-3", "learning_rate = 0", ["training.learning_rate is 0.0", "above 0"]),
        ("batch_windows = 2 ", "batch_windows = 2.5 ", ["batch_windows is 2.5", "int"]),
        ("batch_windows = 2 ", "batch_windows = true ", ["batch_windows is True", "int"]),
        ("hidden = 224", "hidden = 230", ["rung-7.hidden is 230", "multiple of", "32"]),
        ("hidden = 224\n", "", ["[[rungs]] 7: hidden must be given"]),
        ('name = "rung-7"', 'name = "rung-6"', ["of different names"]),
        ('name = "rung-7"', 'name = "../up"', ["'../up'", "a folder's name"]),
        ('source = "stdlib"', 'source = "web"', ["text.source is 'web'", '"stdlib" or "paths"']),
        ('source = "stdlib"', 'source = "paths"', ["text.paths is []"]),
        ("vocabulary = 2048", "vocabulary = 100", ["tokenizer.vocabulary is 100", "512"]),
        ("decay_share = 0.4", "decay_share = 0.99", ["training.decay_share is 0.99", "1 - warmup_share"]),
        (
            'architecture = "llama"',
            'architecture = "gpt"',
            ["model.architecture is 'gpt'", "did you mean 'gpt2'"],
        ),
        ("seed =", "seed", ["is not TOML"]),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(tmp_path, was, becomes, said):
    text = SHIPPED.read_text()
    assert was in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(was, becomes, 1))
    with pytest.raises(TrainingError) as error:
        read_recipe(file)
    for words in ["wrong.toml", *said]:
        assert words in str(error.value)


def test_no_rungs_and_no_file(tmp_path):
    with pytest.raises(TrainingError, match="no such recipe"):
        read_recipe(tmp_path / "absent.toml")
    (tmp_path / "none.toml").write_text('name = "x"\n')
    with pytest.raises(TrainingError, match=r"no \[\[rungs\]\]"):
        read_recipe(tmp_path / "none.toml")


RULE = """
name = "ruled"
[text]
source = "stdlib"
[model]
architecture = "gpt2"
head_width = 16
[[rungs]]
name = "small"
body_parameters = 100_000
tokens_per_parameter = 20
"""


def test_a_rung_by_the_rule_of_depth_and_width(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RULE)
    [rung] = read_recipe(file).rungs
    size = size_of(rung, read_recipe(file).model, 1).body_parameters
    assert size == pytest.approx(100_000, rel=0.2)
    assert rung.tokens == 20 * size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("= 100_000", "= 100_000\nhidden = 64"),
            "body_parameters or hidden, layers, intermediate, not both",
        ),
        (("= 100_000", "= 0"), "body_parameters is 0; it must be 1 or more"),
        (("= 20\n", "= 20\ntokens = 5\n"), "tokens or tokens_per_parameter, not both"),
        (("body_parameters = 100_000", "hidden = 64"), "must be given, above 0"),
        (('"gpt2"', '"gtp2"'), "did you mean 'gpt2'"),
        (('"gpt2"', '"gpt2"\nkey_value_groups = 2'), "key_value_groups is 2; it must be 1 for gpt2"),
        (('"gpt2"', '"gpt2"\naspect = -1.0'), "aspect must be above 0"),
    ],
)
def test_rules_that_contradict_are_refused(change, said, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RULE.replace(*change))
    with pytest.raises(TrainingError, match=said):
        read_recipe(file)
