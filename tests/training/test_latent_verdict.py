"""The GAN against the sweep: known differences are found, in intervals that hold them as often as said."""

import numpy as np
import pytest

from kbit.errors import TrainingError
from kbit.training.latent.verdict import TextBits, judge


def texts(random, *, entropy, cross, seeds=(1, 2, 3), each=100, noise=0.3):
    """Texts whose bits a byte scatter around what is given; `cross` may differ by seed."""
    rows, owners = [], []
    for i, seed in enumerate(seeds):
        level = cross[i] if isinstance(cross, tuple) else cross
        size = random.integers(30, 90, size=each)
        # A text that was unlikely to be drawn is unlikely under the scorer too.
        together = random.normal(0, noise, size=each)
        rows.append(np.stack([size * (level + together), size * (entropy + together), size], axis=1))
        owners += [seed] * each
    return TextBits(sums=np.concatenate(rows), seeds=np.array(owners))


def sweep(random):
    """Cross-entropy 1 + 0.8 x entropy, at three temperatures."""
    return [texts(random, entropy=x, cross=1 + 0.8 * x) for x in (1.0, 1.5, 2.0)]


@pytest.mark.parametrize(("above", "winner"), [(0.3, "sweep"), (-0.3, "gan"), (0.0, "undecided")])
def test_a_known_difference_is_found(above, winner):
    random = np.random.default_rng(3)
    found = judge(texts(random, entropy=1.7, cross=1 + 0.8 * 1.7 + above), sweep(random))
    low, high = found.ci95
    assert low < above < high
    assert found.winner == winner
    assert high - low < 0.2


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        found = judge(texts(random, entropy=1.7, cross=1 + 0.8 * 1.7, each=40), sweep(random), resamples=300)
        held += found.ci95[0] <= 0 <= found.ci95[1]
    assert 0.88 < held / 150 < 0.99  # 0.95 less what so few texts cost a bootstrap; standard deviation 0.02


def test_seeds_that_do_not_agree_name_no_winner():
    random = np.random.default_rng(4)
    found = judge(texts(random, entropy=1.7, cross=(2.9, 2.9, 2.2)), sweep(random))
    assert found.ci95[0] > 0
    assert found.winner == "undecided"
    assert "seeds" in found.reason
    assert [value > 0 for value in found.by_seed.values()] == [True, True, False]


def test_outside_the_sweep_nothing_is_said():
    random = np.random.default_rng(4)
    found = judge(texts(random, entropy=2.6, cross=3.0), sweep(random))
    assert (found.difference, found.ci95, found.winner) == (None, None, "undecided")
    assert "temperatures" in found.reason
    with pytest.raises(TrainingError, match="no text"):
        TextBits(sums=np.zeros((0, 3)), seeds=np.zeros(0, dtype=np.int64))
