import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.coders.windows import WindowPlan
from kbit.errors import UsageError


@given(st.integers(0, 200), st.integers(1, 40), st.data())
def test_every_token_is_scored_once(tokens, context, data):
    stride = data.draw(st.integers(1, context))
    windows = list(WindowPlan(context=context, stride=stride).windows(tokens))
    scored = [t for w in windows for t in range(w.scored_from, w.end)]
    assert scored == list(range(tokens))
    for before, window in itertools.pairwise(windows):
        assert window.start - before.start == stride
        assert window.scored_from - window.start == context - stride
        assert before.length == context
    for window in windows:
        assert 1 <= window.length <= context
        assert window.scored_from < window.end


@pytest.mark.parametrize(("context", "stride"), [(0, 1), (8, 0), (8, 9), (-3, -3)])
def test_out_of_range(context, stride):
    with pytest.raises(UsageError, match=r"--context|--stride"):
        WindowPlan(context=context, stride=stride)
