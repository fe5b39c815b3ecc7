"""Measures as pure functions of features or images, and the interval in which each one lies.

Images are (N, H, W, 3) uint8 or (N, H, W) floats on the scale of 0..255; features are (N, D). What is measured face by
face is an (N,) array that ``figure`` sums up; what only a set of faces has (Frechet distance, KID, Inception score) is
a number, and the two distances come with intervals of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Statistic = Callable[[Array], float]


@dataclass(frozen=True)
class Figure:
    """``value`` with its 95 % interval from ``low`` to ``high``, measured on ``count`` faces."""

    value: float
    low: float
    high: float
    count: int


def mean(values: Array) -> float:
    return float(np.mean(values))


def median(values: Array) -> float:
    return float(np.median(values))


def worst(values: Array) -> float:
    """The 5th percentile: one face in twenty is lower."""
    return float(np.percentile(values, 5))


def figure(
    values: Array, people: Array | None = None, statistic: Statistic = mean, draws: int = 1000, seed: int = 0
) -> Figure:
    """``statistic`` of ``values`` (N,) with the percentile bootstrap's 95 % interval (Efron 1979).

    people: (N,) who each face is; a person's faces are drawn together, since they are not independent.
    """
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("no values")
    drawn = [statistic(np.repeat(values, times)) for times in resamples(len(values), people, draws, seed)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Figure(statistic(values), float(low), float(high), len(values))


def resamples(count: int, people: Array | None = None, draws: int = 1000, seed: int = 0) -> Array:
    """(draws, count) how often each face stands in each bootstrap sample; faces of a person as often as each other."""
    group = np.arange(count) if people is None else np.unique(people, return_inverse=True)[1]
    groups = int(group.max()) + 1
    random = np.random.default_rng(seed)
    times = np.stack([np.bincount(random.integers(0, groups, groups), minlength=groups) for _ in range(draws)])
    return times[:, group]


def frechet_distance(a: Array, b: Array) -> float:
    """Squared Frechet distance of the Gaussians fitted to ``a`` (N, D) and ``b`` (M, D); Heusel et al. 2017, eq. 6.

    With S = B^(1/2) the trace of (A B)^(1/2) is the sum of the roots of the eigenvalues of the symmetric S A S, which
    are real: no imaginary part appears, however few the samples are. Below D + 1 samples it is biased upwards.
    """
    return frechet_of_moments(*_moments(a), *_moments(b))


def frechet_of_moments(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """The same from means (D,) and covariances (D, D)."""
    return _frechet(mean_a, cov_a, mean_b, cov_b, _root(cov_b))


def frechet(a: Array, b: Array, people: Array | None = None, draws: int = 200, seed: int = 0) -> Figure:
    """``frechet_distance`` with an interval over resamplings of ``a``.

    A resampling has fewer different faces and so a larger distance: the interval is moved back by the mean excess.
    """
    goal = _moments(b)
    root = _root(goal[1])
    value = _frechet(*_moments(a), *goal, root)
    drawn = np.array(
        [_frechet(*_moments(np.repeat(a, w, 0)), *goal, root) for w in resamples(len(a), people, draws, seed)]
    )
    low, high = np.percentile(drawn, [2.5, 97.5]) - (drawn.mean() - value)
    return Figure(value, float(low), float(high), len(a))


def kernel_distance(a: Array, b: Array) -> float:
    """KID: the unbiased squared MMD of ``a`` (N, D) and ``b`` (M, D), kernel (x.y / D + 1)^3; Binkowski et al. 2018.

    Being unbiased it may fall below 0 where the two do not differ.
    """
    return float(_mmd(a, b, np.ones((1, len(a))), np.ones((1, len(b))))[0])


def kid(a: Array, b: Array, people: Array | None = None, draws: int = 1000, seed: int = 0) -> Figure:
    """``kernel_distance`` with an interval over resamplings of both sets; a face is never compared with itself."""
    drawn = _mmd(a, b, resamples(len(a), people, draws, seed), resamples(len(b), None, draws, seed + 1))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Figure(kernel_distance(a, b), float(low), float(high), len(a))


def inception_score(probabilities: Array) -> float:
    """exp of the mean divergence of each row of ``probabilities`` (N, K) from their mean; Salimans et al. 2016.

    From 1 (all alike, or none certain) to K.
    """
    p = np.asarray(probabilities, float).clip(1e-16)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))


def ssim(a: Array, b: Array) -> Array:
    """(N,) structural similarity, at most 1 (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, on gray.

    Averaged over the positions where the whole window lies inside; images of 11 pixels a side or more.
    """
    x, y = gray(a), gray(b)
    if min(x.shape[1:]) < 11:
        raise ValueError(f"SSIM needs 11 pixels a side; the images have {x.shape[1]} x {x.shape[2]}")
    mx, my = _blurred(x), _blurred(y)
    vx, vy, both = _blurred(x * x) - mx**2, _blurred(y * y) - my**2, _blurred(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return values.mean((1, 2))


def psnr(a: Array, b: Array) -> Array:
    """(N,) peak signal-to-noise ratio in decibels, over all pixels and channels; infinite where nothing differs."""
    error = ((np.asarray(a, float) - np.asarray(b, float)) ** 2).reshape(len(a), -1).mean(1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / error)


def perceptual_distance(a: Sequence[Array], b: Sequence[Array], weights: Sequence[Array] | None = None) -> Array:
    """(N,) as LPIPS measures it (Zhang et al. 2018, eq. 1), on the layers of any network.

    a, b: a (N, C, H, W) map a layer. weights: (C,) a layer, 1 / C where none are given. Each position's channels are
    brought to length 1; squared differences are weighted, averaged over positions and summed over layers.
    """
    total = np.zeros(len(a[0]))
    for layer, (x, y) in enumerate(zip(a, b, strict=True)):
        weight = np.full(x.shape[1], 1 / x.shape[1]) if weights is None else np.asarray(weights[layer], float)
        total += ((unit(x) - unit(y)) ** 2 * weight[:, None, None]).sum(1).mean((1, 2))
    return total


def accuracy(probabilities: Array, label: int | Array) -> Array:
    """(N,) 1 where the likeliest of ``probabilities`` (N, K) is ``label``, else 0."""
    return (np.asarray(probabilities).argmax(1) == label).astype(float)


def rank_correlation(x: Array, y: Array) -> Array:
    """(N,) Spearman's correlation of each row of ``y`` (N, T) with ``x`` (T,); ties share their mean rank.

    How steadily an expression grows with the intensity asked for: 1 is always. 0 for a row that does not vary.
    """
    a = _ranks(np.asarray(x, float))
    rows = np.stack([_ranks(row) for row in np.asarray(y, float)])
    a, rows = a - a.mean(), rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(a) * np.linalg.norm(rows, axis=1)
    return np.divide(rows @ a, length, out=np.zeros(len(rows)), where=length > 0)


def cosine(a: Array, b: Array) -> Array:
    """(N,) cosine of each pair of embeddings (N, D): 1 is the same face to the network."""
    return (unit(a) * unit(b)).sum(1)


def geodesic(a: Array, b: Array) -> Array:
    """(N,) angle in radians between each pair (N, ...) on the unit sphere: the distance of two SRVF motions."""
    flat = [np.asarray(x, float).reshape(len(x), -1) for x in (a, b)]
    return np.arccos(cosine(*flat).clip(-1, 1))


def acd(features: Array) -> Array:
    """(N,) average content distance: mean L2 distance of all pairs of a clip's frames (N, T, D); Tulyakov et al. 2018.

    0 is one identity that never drifts.
    """
    x = np.asarray(features, float)
    first, second = np.triu_indices(x.shape[1], 1)
    return np.linalg.norm(x[:, first] - x[:, second], axis=2).mean(1)


def acd_i(features: Array, reference: Array) -> Array:
    """(N,) ACD-I: mean L2 distance of a clip's frames (N, T, D) from the photograph (N, D) that they were made of."""
    return np.linalg.norm(np.asarray(features, float) - np.asarray(reference, float)[:, None], axis=2).mean(1)


def change(a: Array, b: Array) -> Array:
    """(N,) mean absolute difference of the pixels, 0..255: 0 is an edit that does nothing."""
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).reshape(len(a), -1).mean(1)


def sharpness(before: Array, after: Array, inside: slice = slice(None)) -> Array:
    """(N,) variance of the Laplacian of gray after / before, rows and columns ``inside`` alone: 1 is as sharp."""

    def variance(images: Array) -> Array:
        g = gray(images)[:, inside, inside]
        edges = 4 * g[:, 1:-1, 1:-1] - g[:, :-2, 1:-1] - g[:, 2:, 1:-1] - g[:, 1:-1, :-2] - g[:, 1:-1, 2:]
        return edges.var((1, 2))

    return variance(after) / np.maximum(variance(before), 1e-6)


def changed_outside(before: Array, after: Array, mask: Array, least: int = 3) -> Array:
    """(N,) share of the pixels outside ``mask`` (N, H, W) bool of which a channel differs by ``least`` or more.

    0 where the mask covers all.
    """
    differs = np.abs(np.asarray(before, int) - np.asarray(after, int)).max(-1) >= least
    outside = ~mask
    return (differs & outside).sum((1, 2)) / np.maximum(outside.sum((1, 2)), 1)


def mds(features: Array, dimensions: int = 2) -> Array:
    """(N, dimensions) places whose distances come nearest to those of ``features`` (N, D); classical MDS (Torgerson).

    From the eigenvectors of the centred Gram matrix; each axis points to the side of its farthest place, so that the
    map does not flip by chance.
    """
    x = np.asarray(features, float)
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x @ x.T)
    values, vectors = values[::-1][:dimensions], vectors[:, ::-1][:, :dimensions]
    places = vectors * np.sqrt(values.clip(min=0))
    far = places[np.abs(places).argmax(0), np.arange(places.shape[1])]
    return places * np.where(far < 0, -1, 1)


def gray(images: Array) -> Array:
    """(N, H, W) floats 0..255 by ITU-R 601 luma; gray images stay as they are."""
    x = np.asarray(images, float)
    return x if x.ndim == 3 else x @ np.array([0.299, 0.587, 0.114])


def unit(x: Array) -> Array:
    """Axis 1 brought to length 1; a row of zeros stays one."""
    x = np.asarray(x, float)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-10)


def _moments(x: Array) -> tuple[Array, Array]:
    x = np.asarray(x, float)
    if len(x) < 2:
        raise ValueError("a Frechet distance needs two samples or more on each side")
    return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))


def _frechet(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array, root_b: Array) -> float:
    both = np.sqrt(np.linalg.eigvalsh(root_b @ cov_a @ root_b).clip(min=0)).sum()
    apart = ((mean_a - mean_b) ** 2).sum()
    return float(max(apart + np.trace(cov_a) + np.trace(cov_b) - 2 * both, 0))


def _root(matrix: Array) -> Array:
    """The symmetric root of a symmetric matrix whose eigenvalues are 0 or more, but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _mmd(a: Array, b: Array, wa: Array, wb: Array) -> Array:
    """(draws,) unbiased squared MMD where sample i counts ``w[draw, i]`` times; none is paired with itself."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    wa, wb = wa.astype(float), wb.astype(float)

    def kernel(x: Array, y: Array) -> Array:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(k: Array, w: Array) -> Array:
        np.fill_diagonal(k, 0)
        return ((w @ k) * w).sum(1) / (w.sum(1) ** 2 - (w**2).sum(1))

    across = ((wa @ kernel(a, b)) * wb).sum(1) / (wa.sum(1) * wb.sum(1))
    return within(kernel(a, a), wa) + within(kernel(b, b), wb) - 2 * across


def _blurred(x: Array) -> Array:
    """(N, H, W) -> (N, H - 10, W - 10) under the Gaussian window."""
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    height, width = x.shape[1] - 10, x.shape[2] - 10
    rows = sum(w * x[:, i : i + height] for i, w in enumerate(window))
    return np.asarray(sum(w * rows[:, :, i : i + width] for i, w in enumerate(window)))


def _ranks(x: Array) -> Array:
    _, place, times = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - (times - 1) / 2)[place]
