"""What stands beside a fine-tuned classifier: TF-IDF with logistic regression, on the same examples.

    python recipes/finetune/tfidf.py TRAIN.jsonl TEST.jsonl [ANSWERS.jsonl…] [--balanced]

TRAIN and TEST are as prepare.py writes them, such as runs/finetune/data/hotel/test.jsonl. ANSWERS are
what `kbit task run … --predictions ANSWERS.jsonl` kept of the same test texts: each is told as a difference
to TF-IDF, paired over the texts.

Words and pairs of words, for Chinese single characters up to three; the regression's constant is chosen on
five folds of the training part. Needs scikit-learn (kbit[latent]).
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

RESAMPLES = 1000


def read(path: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a file."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def classifier(texts: list[str], labels: list[str], *, balanced: bool = False) -> object:
    """TF-IDF with logistic regression, fitted."""
    chinese = sum(ord(c) > 0x2E80 for c in "".join(texts[:200])) > 1000
    words = (
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        if chinese
        else TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    )
    weight = "balanced" if balanced else None
    regression = LogisticRegressionCV(
        Cs=[1, 4, 16], cv=5, max_iter=400, class_weight=weight, solver="liblinear", scoring="accuracy"
    )
    return make_pipeline(words, regression if len(set(labels)) == 2 else ovr(regression)).fit(texts, labels)


def ovr(regression: LogisticRegressionCV) -> object:
    """One regression for each class."""
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(regression)


def answered(path: str, count: int) -> np.ndarray:
    """The labels a model took, in the order of the test texts."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()][1:]  # the first tells settings
    if len(rows) != count:
        raise SystemExit(f"{path}: holds {len(rows)} answers; there are {count} test texts.")
    labels = sorted({row["wanted"].strip() for row in rows})
    said = [""] * count
    for row in rows:
        bits = row["answer"]["choice_bits"]
        said[int(row["item"]) - 1] = labels[bits.index(min(bits))]
    return np.array(said)


def main(train: str, test: str, answers: list[str], *, balanced: bool) -> None:
    """Fit, and print figures with intervals over the test texts."""
    model = classifier(*read(train), balanced=balanced)
    texts, labels = read(test)
    gold, said = np.array(labels), np.array(model.predict(texts))
    metrics = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "macro_f1": lambda a, b: f1_score(a, b, average="macro"),
    }
    draws = np.random.default_rng(0).integers(0, len(gold), (RESAMPLES, len(gold)))
    told = {"train": train, "test": test, "balanced": balanced, "items": len(gold)}
    models = {path: answered(path, len(gold)) for path in answers}
    for name, metric in metrics.items():
        told[name] = interval(metric(gold, said), [metric(gold[i], said[i]) for i in draws])
        for path, theirs in models.items():
            apart = [metric(gold[i], theirs[i]) - metric(gold[i], said[i]) for i in draws]
            value = metric(gold, theirs)
            beside = {"value": value, "less_tf_idf": interval(value - metric(gold, said), apart)}
            told.setdefault(path, {})[name] = beside
    print(json.dumps(told, ensure_ascii=False))


def interval(value: float, drawn: list[float]) -> dict[str, object]:
    """A figure with its 95% interval."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": float(value), "ci95": [float(low), float(high)]}


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--balanced"]
    main(words[0], words[1], words[2:], balanced="--balanced" in sys.argv)
