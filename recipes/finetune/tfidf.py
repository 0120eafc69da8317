"""What stands beside a fine-tuned classifier: TF-IDF with logistic regression, on the same examples.

    python recipes/finetune/tfidf.py runs/finetune/data/hotel/train.jsonl runs/finetune/data/hotel/test.jsonl

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

RESAMPLES = 2000


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
        Cs=[1, 4, 16], cv=5, max_iter=400, class_weight=weight, solver="liblinear"
    )
    return make_pipeline(words, regression if len(set(labels)) == 2 else ovr(regression)).fit(texts, labels)


def ovr(regression: LogisticRegressionCV) -> object:
    """One regression for each class."""
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(regression)


def main(train: str, test: str, *, balanced: bool) -> None:
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
    for name, metric in metrics.items():
        values = [metric(gold[i], said[i]) for i in draws[:500]]
        low, high = np.percentile(values, [2.5, 97.5])
        told[name] = {"value": metric(gold, said), "ci95": [low, high]}
    told["right"] = [int(a == b) for a, b in zip(gold, said, strict=True)]
    print(json.dumps(told, ensure_ascii=False))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--balanced"]
    main(words[0], words[1], balanced="--balanced" in sys.argv)
