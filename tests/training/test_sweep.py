"""A sweep tells a learning rate that is far too small from one that is right, and names what diverged."""

from dataclasses import replace

import pytest

from kbit.coders import CodeLengths
from kbit.errors import TrainingError
from kbit.training import run as run_module
from kbit.training import sweep_learning_rate
from kbit.training.sweep import judge, verdict


def test_a_rate_far_too_small_is_seen(recipe, tmp_path):
    slow = replace(recipe, training=replace(recipe.training, learning_rate=2e-5))
    found = sweep_learning_rate(
        slow, tmp_path / "out", rung="small", tokens=40 * 64, factors=(1.0, 200.0, 50.0)
    )
    assert [trial.factor for trial in found.trials] == [1.0, 50.0, 200.0]
    bits = [trial.bits_per_byte for trial in found.trials]
    assert bits[0] > bits[1] > bits[2]
    assert "is better than the recipe's" in found.verdict
    assert "edge" in found.verdict
    behind = found.trials[0].behind_best
    assert behind.value == pytest.approx(bits[0] - bits[2])
    assert behind.low > 0


def test_finished_trials_are_kept_and_divergence_is_a_result(recipe, tmp_path, monkeypatch):
    real, calls = run_module.train_step, []

    def diverges_at_high_rates(objective, optimizer, *rest):
        calls.append(optimizer.param_groups[0]["lr"])
        result = real(objective, optimizer, *rest)
        return (float("nan"), 1.0) if calls[-1] > 0.1 else result

    monkeypatch.setattr(run_module, "train_step", diverges_at_high_rates)
    options = {"rung": "small", "tokens": 4 * 64, "factors": (1.0, 50.0)}
    found = sweep_learning_rate(recipe, tmp_path / "out", **options)
    assert [trial.bits_per_byte is None for trial in found.trials] == [False, True]
    assert "nan" in found.trials[1].reason
    first = len(calls)
    again = sweep_learning_rate(recipe, tmp_path / "out", **options)
    assert again.trials[0] == found.trials[0]
    assert len(calls) - first < first  # the finished trial took no step


def lengths(*bits):
    return [
        CodeLengths(document=str(i), bits=b, bytes=100, characters=100, tokens=50, bytes_lost=0)
        for i, b in enumerate(bits)
    ]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({0.5: lengths(300, 310), 1.0: lengths(200, 210), 2.0: lengths(260, 270)}, "is the best of these"),
        ({0.5: lengths(200, 260), 1.0: lengths(230, 231), 2.0: lengths(900, 900)}, "cannot be told"),
        ({0.5: "nan", 1.0: "nan"}, "every trial diverged"),
        ({0.5: lengths(100, 110), 1.0: lengths(200, 210)}, "x0.5 is better .* edge"),
    ],
)
def test_verdicts(found, said):
    import re

    assert re.search(said, verdict(judge(found, 1e-3)))


def test_bad_sweeps_are_refused(recipe, tmp_path):
    with pytest.raises(TrainingError, match="no rung 'smal'; did you mean 'small'"):
        sweep_learning_rate(recipe, tmp_path, rung="smal", tokens=64)
    with pytest.raises(TrainingError, match="1 one of them"):
        sweep_learning_rate(recipe, tmp_path, rung="small", tokens=64, factors=(0.5, 2.0))
