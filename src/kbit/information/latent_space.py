"""Points of a space that texts are mapped to: planes to look at them on, clusters, and how well these agree.

t-SNE, k-means and the indices are scikit-learn's, UMAP is umap-learn's; both come with extras.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kbit.errors import MissingExtraError, UsageError, did_you_mean

Floats = NDArray[np.float64]
METHODS = ("pca", "tsne", "umap")
PERMUTATIONS = 999
FEWEST = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Points on a plane: float64 [texts, 2]; for PCA, the share of the variance each axis shows."""

    method: str
    points: Floats
    explained: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """k-means over the whole space.

    Attributes:
        labels: of each text, from 0.
        silhouette: mean over texts, -1 to 1 (Rousseeuw 1987).
        adjusted_rand: agreement with given labels, 0 by chance and 1 at best (Hubert & Arabie 1985).
        p_value: share of permuted labels that agree as well, the given ones among them.
        permuted_95: what 95% of permuted labels stay below.
    """

    labels: tuple[int, ...]
    silhouette: float | None
    adjusted_rand: float | None = None
    p_value: float | None = None
    permuted_95: float | None = None


def project(vectors: Floats, method: str, *, seed: int = 0) -> Plane:
    """A plane that shows the vectors.

    Args:
        vectors: [texts, dimensions].
        method: `pca` (here, by singular values), `tsne` (van der Maaten & Hinton 2008) or `umap` (McInnes et
            al. 2018).
        seed: of the two that draw.

    Raises:
        UsageError: no such method, or too few texts.
        MissingExtraError: the method's library is absent.
    """
    if method not in METHODS:
        raise UsageError(f"no projection is called {method!r}; {did_you_mean(method, METHODS)}")
    if len(vectors) < FEWEST:
        raise UsageError(f"{len(vectors)} texts are too few to map; give at least {FEWEST}.")
    if method == "pca":
        return _pca(vectors)
    if method == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError("umap", needed_for="UMAP") from error
        neighbours = min(15, len(vectors) - 1)
        found = UMAP(n_components=2, n_neighbors=neighbours, random_state=seed, n_jobs=1)
        return Plane(method=method, points=np.asarray(found.fit_transform(vectors), dtype=np.float64))
    manifold = _sklearn("manifold", "t-SNE")
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    found = manifold.TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    return Plane(method=method, points=np.asarray(found.fit_transform(vectors), dtype=np.float64))


def _pca(vectors: Floats) -> Plane:
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    axes = min(2, len(s))
    points = np.zeros((len(vectors), 2))
    points[:, :axes] = u[:, :axes] * s[:axes]
    total = float((s**2).sum()) or 1.0
    shares = [float(x**2) / total for x in s[:2]] + [0.0, 0.0]
    return Plane(method="pca", points=points, explained=(shares[0], shares[1]))


def cluster(vectors: Any, count: int, *, labels: Sequence[str] | None = None, seed: int = 0) -> Clusters:
    """k-means clusters, and how they agree with labels, against labels that are shuffled.

    Args:
        vectors: [texts, dimensions], a matrix or a sparse one.
        count: of clusters, 2 or more.
        labels: of each text, where there are any.
        seed: of starts and permutations.

    Raises:
        UsageError: fewer than two clusters, or not more texts than clusters.
        MissingExtraError: scikit-learn is absent.
    """
    texts = vectors.shape[0]
    if not 2 <= count < texts:
        raise UsageError(
            f"{count} clusters of {texts} texts are asked for; give 2 or more, fewer than texts."
        )
    found = _sklearn("cluster", "k-means").KMeans(n_clusters=count, n_init=10, random_state=seed).fit(vectors)
    metrics = _sklearn("metrics", "the silhouette")
    several = len(set(found.labels_.tolist())) > 1
    clusters = Clusters(
        labels=tuple(int(label) for label in found.labels_),
        silhouette=float(metrics.silhouette_score(vectors, found.labels_)) if several else None,
    )
    if labels is None:
        return clusters
    random = np.random.default_rng(seed)
    given = np.unique(np.asarray(labels), return_inverse=True)[1]
    agreement = adjusted_rand(given, found.labels_)
    permuted = [adjusted_rand(random.permutation(given), found.labels_) for _ in range(PERMUTATIONS)]
    return Clusters(
        labels=clusters.labels,
        silhouette=clusters.silhouette,
        adjusted_rand=agreement,
        p_value=(1 + sum(value >= agreement for value in permuted)) / (1 + PERMUTATIONS),
        permuted_95=float(np.quantile(permuted, 0.95)),
    )


def adjusted_rand(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """The adjusted Rand index of two groupings (Hubert & Arabie 1985, equation 5).

    scikit-learn's checks its arguments each time, which a thousand permutations need not.

    Args:
        first: the group of each text, from 0.
        second: the same of another grouping.
    """
    table = np.bincount(first * (int(second.max()) + 1) + second)
    pairs = [(c * (c - 1) / 2).sum() for c in (table, np.bincount(first), np.bincount(second))]
    together, alone = pairs[0], pairs[1:]
    expected = alone[0] * alone[1] / (len(first) * (len(first) - 1) / 2)
    most = sum(alone) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def tfidf(texts: Sequence[str]) -> Any:
    """TF-IDF of words, and of single Chinese characters; sparse [texts, terms].

    Raises:
        MissingExtraError: scikit-learn is absent.
    """
    text = _sklearn("feature_extraction.text", "TF-IDF")
    found = text.TfidfVectorizer(
        token_pattern=r"(?u)[\u3400-\u9fff]|[^\W\u3400-\u9fff]{2,}", sublinear_tf=True
    )
    return found.fit_transform(texts)


def nearest(vectors: Floats, index: int, count: int) -> list[tuple[int, float]]:
    """The nearest other texts and their Euclidean distances, the nearest first."""
    distances = np.sqrt(((vectors - vectors[index]) ** 2).sum(axis=1))
    order = [int(i) for i in np.argsort(distances, kind="stable") if i != index]
    return [(i, float(distances[i])) for i in order[:count]]


def _sklearn(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtraError("latent", needed_for=what) from error
