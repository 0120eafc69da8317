"""BLEU and chrF as sacrebleu computes them, from sums over sentences."""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kbit.errors import MissingExtraError
from kbit.information.resample import Floats
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Metric

ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2
# Languages written without spaces: sacrebleu's tokeniser for each, characters where it needs another package.
TOKENISERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}


@cache
def bleu_of(language: str, tokeniser: str | None = None) -> Any:
    """BLEU of sacrebleu for a language.

    Args:
        language: two letters.
        tokeniser: of sacrebleu; by default `zh` for Chinese, `13a` for most.

    Raises:
        MissingExtraError: sacrebleu is absent.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        raise MissingExtraError("tasks", needed_for="BLEU")
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokeniser or TOKENISERS.get(language, "13a"))


@cache
def chrf_of() -> Any:
    """chrF2 of sacrebleu: characters 1 to 6, no words.

    Raises:
        MissingExtraError: sacrebleu is absent.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        raise MissingExtraError("tasks", needed_for="chrF")
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def sentence_sums(metric: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """What sacrebleu adds up of each sentence, float64 [sentences, columns].

    Args:
        metric: sacrebleu's.
        hypotheses: one a sentence.
        references: those of each sentence, as many as it has.
    """
    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    statistics = metric._extract_corpus_statistics(list(hypotheses), streams)
    return np.array(statistics, dtype=np.float64)


def bleu_figure(sums: Floats) -> Floats:
    """Corpus BLEU, 0 to 100, from system and reference length, matches and totals of 1- to 4-grams.

    Precisions without a match are smoothed as sacrebleu's default `exp` does: the k-th of them in order is
    1 / (2^k total).

    Source: Papineni et al., ACL 2002; Post, "A call for clarity in reporting BLEU scores", WMT 2018;
    Chen & Cherry, WMT 2014, method 3.
    """
    system, reference = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER : 2 + 2 * ORDER]
    with np.errstate(divide="ignore", invalid="ignore"):
        nothing = (matches == 0) & (totals > 0)
        smoothed = 1 / (2.0 ** np.cumsum(nothing, axis=-1) * totals)
        precisions = np.where(nothing, smoothed, matches / totals)
        penalty = np.where(system < reference, np.exp(1 - reference / system), 1.0)
        score = 100 * penalty * np.exp(np.log(precisions).mean(axis=-1))
    usable = (matches.sum(axis=-1) > 0) & (totals > 0).all(axis=-1) & (system > 0)
    result: Floats = np.where(usable, score, 0.0)
    return result


def chrf_figure(sums: Floats) -> Floats:
    """Corpus chrF2, 0 to 100, from characters n-grams of hypothesis, reference and both, n = 1 to 6.

    Source: Popović, WMT 2015; orders that one side lacks are left out of the means, as in sacrebleu.
    """
    counts = sums.reshape((*sums.shape[:-1], CHRF_ORDER, 3))
    hypothesis, reference, both = counts[..., 0], counts[..., 1], counts[..., 2]
    counted = (hypothesis > 0) & (reference > 0)
    orders = counted.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted, both / hypothesis, 0.0).sum(axis=-1) / orders
        recall = np.where(counted, both / reference, 0.0).sum(axis=-1) / orders
        factor = CHRF_BETA**2
        score = 100 * (1 + factor) * precision * recall / (factor * precision + recall)
    result: Floats = np.nan_to_num(score, nan=0.0)
    return result


def _bleu_columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    texts, references = [a.text.strip() for a in answers], [i.references for i in items]
    return sentence_sums(bleu_of(language), texts, references)


def _chrf_columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    texts, references = [a.text.strip() for a in answers], [i.references for i in items]
    return sentence_sums(chrf_of(), texts, references)


def _signature(metric: Any, items: Sequence[Item]) -> str:
    """As sacrebleu prints it; it knows the number of references only after a corpus, ours is in the items."""
    counts = {len(item.references) for item in items}
    told = [part for part in str(metric.get_signature()).split("|") if not part.startswith("nrefs:")]
    return "|".join([f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}", *told])


BLEU = Metric(
    name="bleu",
    what="n-grams of words shared with the reference",
    unit="0 to 100",
    columns=_bleu_columns,
    statistic=bleu_figure,
    signature=lambda items, language: _signature(bleu_of(language), items),
)
CHRF = Metric(
    name="chrf",
    what="n-grams of characters shared with the reference",
    unit="0 to 100",
    columns=_chrf_columns,
    statistic=chrf_figure,
    signature=lambda items, language: _signature(chrf_of(), items),
)
