"""On the shipped ladder: two halves of human text are not apart, greedy decoding is found repetitive."""

import numpy as np
import pytest

from kbit.coders import baseline
from kbit.coders.of_model import coder_of
from kbit.corpus import Document, read_documents
from kbit.information.generated.bits import bits_figures
from kbit.information.generated.compare import compare, repetitive
from kbit.information.generated.continuation import Continuation, of_documents
from kbit.information.generated.decoding import Decoding
from kbit.information.generated.figure import Options
from kbit.information.generated.produce import Wanted, human_continuation, make_prompts, produce
from kbit.models import load, load_tokenizer

QUICK = Options(resamples=500, self_bleu_texts=8, estimator="unigram")
PROMPT, NEW = 32, 64


@pytest.fixture(scope="module")
def held_out() -> list[Document]:
    return list(read_documents(["ladder:held-out"]))


class Remembered:
    """What a coder said of each text, so that it is asked once."""

    def __init__(self, coder, documents) -> None:
        self.name, self.settings, self.version = coder.name, coder.settings, coder.version
        self._lengths = {d.text: c for d, c in zip(documents, coder.code_lengths(documents), strict=True)}

    def code_lengths(self, documents):
        return (self._lengths[d.text] for d in documents)


def halves(documents: list[Document], seed: int) -> tuple[list[Continuation], list[Continuation]]:
    order = np.random.default_rng(seed).permutation(len(documents))
    texts = of_documents([documents[i] for i in order])
    return texts[::2], texts[1::2]


def test_the_gap_of_two_halves_of_human_text_covers_nothing(held_out):
    model = coder_of(load("ladder:rung-1"), load_tokenizer("ladder:rung-1"), name="rung-1")
    scorer = Remembered(model, held_out)
    covers = []
    for seed in range(60):
        gap = bits_figures(*halves(held_out, seed), scorer, None, QUICK)["cross_entropy"].difference
        covers.append(gap.low <= 0 <= gap.high)
        assert 0.1 < gap.high - gap.low < 0.8  # it would see a bit a byte
    assert sum(covers) >= 54  # 95% of 60 are 57
    found = compare(*halves(held_out, 0), scorer=scorer, options=QUICK)
    for name in ("cross_entropy", "entropy_rate", "diversity", "entropy_reduction_random"):
        apart = found.figures[name].difference
        assert apart.low <= 0 <= apart.high, name
    assert not repetitive(found.figures)


def test_greedy_decoding_is_found_repetitive_and_its_entropy_reduction_no_merit(held_out):
    tokenizer, model = load_tokenizer("ladder:rung-3"), load("ladder:rung-3")
    documents = held_out[:24]
    human = [
        Continuation(name=d.name, source=d.name, prompt=prompt, text=text)
        for d in documents
        for prompt, text in [human_continuation(tokenizer, d, prompt_tokens=PROMPT, new_tokens=NEW)]
        if text
    ]
    prompts = make_prompts(tokenizer, documents, prompt_tokens=PROMPT)
    wanted = [Wanted(prompt=p, seed=0, sample=0) for p in prompts]
    decoded = {}
    for name, decoding in (("greedy", Decoding(temperature=0, max_new_tokens=NEW)),
                           ("sampled", Decoding(max_new_tokens=NEW))):  # fmt: skip
        decoded[name] = [
            Continuation(name=m.wanted.prompt.source, source=m.wanted.prompt.source, text=m.text, seed=0,
                         prompt=m.wanted.prompt.text, decoding_bits=sum(m.decoding_bits))
            for batch in produce(model, tokenizer, wanted, decoding, batch_size=24)
            for m in batch
            if m.text
        ]  # fmt: skip
    options = Options(resamples=500, self_bleu_texts=8)
    scorer = baseline("ctw-3")
    greedy = compare(decoded["greedy"], human, scorer=scorer, options=options)
    assert repetitive(greedy.figures)
    assert any("repeats itself" in w for w in greedy.warnings)
    assert any("no merit" in w for w in greedy.warnings)
    assert greedy.figures["decoding_entropy"].generated.value == 0
    assert greedy.figures["entropy_reduction_random"].difference.low > 0
    sampled = compare(decoded["sampled"], human, scorer=scorer, options=options)
    assert not repetitive(sampled.figures)
    assert (
        sampled.figures["rep_4"].generated.value < 0.5 * greedy.figures["rep_4"].generated.value
    )  # per cent of 4-grams that stood before
