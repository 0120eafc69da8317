"""Planes, clusters and their agreement with labels, where the answer is known."""

import numpy as np
import pytest

from kbit.errors import MissingExtraError, UsageError
from kbit.information.latent_space import adjusted_rand, cluster, nearest, project, tfidf

sklearn = pytest.importorskip("sklearn", reason="needs the extra 'latent'")


def blobs(count=3, each=40, distance=12.0):
    random = np.random.default_rng(0)
    centres = random.normal(size=(count, 6))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.concatenate([centre + random.normal(size=(each, 6)) for centre in centres])
    return vectors, [str(i) for i in range(count) for _ in range(each)]


def test_pca_is_the_eigenvectors_of_the_covariance():
    vectors, _ = blobs()
    plane = project(vectors, "pca")
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(0)) @ axes[:, [-1, -2]]
    assert np.allclose(np.abs(plane.points), np.abs(expected))
    assert plane.explained == pytest.approx((values[-1] / values.sum(), values[-2] / values.sum()))
    assert plane.explained is not None
    from sklearn.decomposition import PCA

    assert plane.explained == pytest.approx(tuple(PCA(2).fit(vectors).explained_variance_ratio_))


def test_a_plane_of_one_dimension_lies_on_a_line():
    plane = project(np.arange(10.0)[:, None], "pca")
    assert np.allclose(plane.points[:, 1], 0)
    assert np.allclose(np.abs(plane.points[:, 0]), np.abs(np.arange(10.0) - 4.5))


def test_tsne_keeps_clusters_apart():
    vectors, labels = blobs()
    plane = project(vectors, "tsne", seed=1)
    middles = np.array([plane.points[[lab == name for lab in labels]].mean(0) for name in "012"])
    own = max(np.linalg.norm(plane.points[i] - middles[int(lab)]) for i, lab in enumerate(labels))
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a in range(3) for b in range(a))
    assert apart > own


def test_clusters_that_are_there_are_found_and_labels_without_meaning_are_not():
    vectors, labels = blobs()
    found = cluster(vectors, 3, labels=labels)
    assert found.adjusted_rand == pytest.approx(1.0)
    assert found.silhouette is not None
    assert found.silhouette > 0.5
    assert found.p_value == pytest.approx(0.001)  # one of a thousand orders, the given one
    shuffled = list(np.random.default_rng(1).permutation(labels))
    nothing = cluster(vectors, 3, labels=shuffled)
    assert nothing.p_value is not None
    assert nothing.p_value > 0.01
    assert abs(nothing.adjusted_rand or 0.0) < 0.1
    assert nothing.permuted_95 is not None
    assert 0 < nothing.permuted_95 < 0.1


def test_the_adjusted_rand_index_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score

    random = np.random.default_rng(2)
    for first_groups, second_groups in ((3, 3), (2, 7), (1, 4), (1, 1)):
        first, second = (random.integers(0, groups, 60) for groups in (first_groups, second_groups))
        expected = adjusted_rand_score(first, second)
        assert adjusted_rand(first, second) == pytest.approx(expected, abs=1e-12)
    same = random.integers(0, 4, 60)
    assert adjusted_rand(same, 3 - same) == 1.0


def test_the_nearest_come_in_order():
    vectors = np.array([[0.0], [3.0], [1.0], [-1.5]])
    assert nearest(vectors, 0, 2) == [(2, 1.0), (3, 1.5)]


def test_tfidf_reads_chinese_by_character():
    matrix = tfidf(["房间很大", "房间很小", "a red hen", "a red barn"]).toarray()
    gram = matrix @ matrix.T
    assert gram[0, 1] > 0.4
    assert gram[2, 3] > 0.2
    assert gram[0, 2] == 0


def test_wrong_calls_are_named():
    vectors, _ = blobs()
    with pytest.raises(UsageError, match="'pca'"):
        project(vectors, "pac")
    with pytest.raises(UsageError, match="too few"):
        project(vectors[:4], "pca")
    with pytest.raises(UsageError, match="clusters"):
        cluster(vectors, 1)
    import importlib.util

    if importlib.util.find_spec("umap") is None:
        with pytest.raises(MissingExtraError, match="kbit\\[umap\\]"):
            project(vectors, "umap")
