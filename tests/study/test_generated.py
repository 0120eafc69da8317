"""Generated text in a study: its plan, its rows, and that rows say what the comparison says."""

import math

import numpy as np
import pytest

from kbit.errors import StudyError
from kbit.information.generated.compare import compare
from kbit.information.generated.decoding import Decoding
from kbit.information.generated.figure import Options
from kbit.information.generated.produce import Wanted, make_prompts, produce
from kbit.information.resample import contributions, estimate, grouped, ratio
from kbit.store import open_store
from kbit.study import plan, read_study, run, status

GENERATE = """
[generate]
prompts = "held-out.jsonl"
scorer = "kneser-ney-3"
prompt_tokens = 6
max_new_tokens = 20
temperatures = [0.0, 1.0]
top_k = [0, 5]
seeds = [0, 1]
samples = 2
estimator = "unigram"
"""


@pytest.fixture(scope="module")
def generating(family):
    def write(name: str, table: str = GENERATE):
        text = (family / "s.toml").read_text().replace('"rung-1", "rung-2"', '"rung-1"')
        text = text.replace('"nf4", "bf16", "int3:b32"', '"bf16", "nf4"')
        (family / name).write_text(text + table)
        return read_study(family / name)

    return write


@pytest.fixture(scope="module")
def done(generating, tmp_path_factory):
    planned = plan(generating("g.toml"))
    with open_store(tmp_path_factory.mktemp("g") / "s.sqlite", create=True) as store:
        result = run(planned, store)
        assert (result.done, result.failed) == (result.total, 0)
        assert run(planned, store).measured == 0
        assert status(planned, store).done == len(planned.keys)
        return planned, list(store.rows("tiny"))


def test_decodings_are_planned_once(done):
    planned, rows = done
    tasks = [t for t in planned.tasks if t.generating]
    # Two formats; greedy once, and temperature 1 with two cut-offs for two seeds.
    assert len(tasks) == 2 * (1 + 4)
    assert len({t.identity for t in tasks}) == len(tasks)
    assert all("entropy_reduction_training" in t.metrics for t in tasks)
    gaps = [r for r in rows if r["metric"] == "gap"]
    assert len(gaps) == len(tasks)
    assert {(r["temperature"], r["top_k"], r["seed"]) for r in gaps} == {
        (0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 5, 0), (1, 5, 1),
    }  # fmt: skip
    assert {r["scorer"] for r in gaps} == {"kneser-ney-3"}
    assert all(r["status"] == "ok" for r in rows)
    greedy = [r for r in rows if r["metric"] == "decoding_entropy" and r["temperature"] == 0]
    assert [r["value"] for r in greedy] == [0, 0]


def test_rows_are_the_comparison(done, family):
    """The same continuations, made and compared by hand."""
    import torch

    from kbit.coders import baseline
    from kbit.corpus import Document, read_documents
    from kbit.information.generated.continuation import Continuation
    from kbit.information.generated.produce import human_continuation
    from kbit.models import load, load_tokenizer

    _, rows = done
    tokenizer, model = load_tokenizer(family / "rung-1"), load(family / "rung-1", dtype=torch.float32)
    documents = list(read_documents([family / "held-out.jsonl"]))
    human = []
    for d in documents:
        prompt, text = human_continuation(tokenizer, d, prompt_tokens=6, new_tokens=20)
        if text:
            human.append(Continuation(name=d.name, source=d.name, prompt=prompt, text=text))
    kept = [d for d in documents if d.name in {c.source for c in human}]
    assert 1 < len(kept) < len(documents)
    prompts = make_prompts(tokenizer, kept, prompt_tokens=6)
    wanted = [Wanted(prompt=p, seed=1, sample=i) for p in prompts for i in range(2)]
    decoding = Decoding(top_k=5, max_new_tokens=20)
    ours = [
        Continuation(name=str(i), source=m.wanted.prompt.source, prompt=m.wanted.prompt.text, text=m.text,
                     seed=1, decoding_bits=sum(m.decoding_bits), model_bits=sum(m.model_bits))
        for i, m in enumerate(m for b in produce(model, tokenizer, wanted, decoding) for m in b)
    ]  # fmt: skip
    train = list(read_documents([family / "train.txt"]))
    found = compare(ours, human, scorer=baseline("kneser-ney-3", train), train=train,
                    options=Options(estimator="unigram", resamples=1000))  # fmt: skip
    mine = {
        r["metric"]: r for r in rows
        if (r["format"], r["top_k"], r["seed"], r["temperature"]) == ("bf16", 5, 1, 1)
    }  # fmt: skip
    assert mine["gap"]["value"] == pytest.approx(found.figures["cross_entropy"].difference.value, abs=1e-4)
    for metric, name in (("implausibility", "implausibility"), ("decoding_entropy", "decoding_entropy"),
                         ("diversity", "diversity"), ("rep_4", "rep_4")):  # fmt: skip
        figure = found.figures[name].generated
        assert mine[metric]["value"] == pytest.approx(figure.value, abs=1e-3), metric
        # Few documents: the spread of resamples and that of the parts are alike, not equal.
        if figure.standard_error > 1e-6:
            assert 0.4 < mine[metric]["value_standard_error"] / figure.standard_error < 2.5, metric
    assert isinstance(documents[0], Document)


def test_contributions_have_the_figure_as_mean_and_its_error_as_spread():
    rng = np.random.default_rng(0)
    size = rng.integers(20, 200, 300).astype(float)
    sums = grouped([str(i) for i in range(300)], size * rng.normal(2, 0.5, 300), size)
    values = np.array(list(contributions(sums).values()))
    found = estimate(sums)
    assert values.mean() == pytest.approx(found.value, rel=1e-12)
    assert values.std(ddof=1) / math.sqrt(300) == pytest.approx(found.standard_error, rel=0.1)
    # Against the ratio's analytic slope.
    expected = found.value + (sums.columns[:, 0] - found.value * size) / size.mean()
    assert np.allclose(values, expected, atol=1e-6)
    less = contributions(sums, ratio, sums)
    assert max(map(abs, less.values())) < 1e-12


@pytest.mark.parametrize(("old", "new", "told"), [
    ('scorer = "kneser-ney-3"', "", "no scorer. \\[generate\\] says at least prompts, scorer"),
    ("temperatures = [0.0, 1.0]", "temperatures = [-1.0]", "a list of numbers from 0"),
    ("temperatures = [0.0, 1.0]", "temperatures = []", "a list of numbers from 0"),
    ("top_k = [0, 5]", "top_k = [0.5]", "a list of whole numbers"),
    ("seeds = [0, 1]", "seeds = [1, 1]", "names a value twice"),
    ("samples = 2", "sample = 2", "did you mean 'samples'"),
])  # fmt: skip
def test_a_wrong_table_is_told_with_its_line(generating, old, new, told):
    with pytest.raises(StudyError, match=told):
        generating("wrong.toml", GENERATE.replace(old, new))


@pytest.mark.parametrize(("old", "new", "told"), [
    ('estimator = "unigram"', 'estimator = "unigramm"', "did you mean 'unigram'"),
    ("top_k = [0, 5]", "top_p = [1.5]", "top_p must be"),
    ('prompts = "held-out.jsonl"', 'prompts = "none.jsonl"', "no such text"),
    ('scorer = "kneser-ney-3"', 'scorer = "ladder:*"', "is 7 models"),
])  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(generating, old, new, told):
    with pytest.raises(StudyError, match=told):
        plan(generating("wrong.toml", GENERATE.replace(old, new)))
