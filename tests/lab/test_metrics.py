"""Every measure beside an oracle: a closed form, another library, or the plainest loop that can be written."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from mien.lab import metrics

random = np.random.default_rng(7)


def test_frechet_distance_of_gaussians_has_a_closed_form() -> None:
    """Commuting covariances: |m|^2 + sum of (s - t)^2."""
    turn = np.linalg.qr(random.normal(size=(5, 5)))[0]
    s, t, m = random.uniform(0.1, 3, 5), random.uniform(0.1, 3, 5), random.normal(size=5)
    a, b = (turn @ np.diag(x**2) @ turn.T for x in (s, t))
    expected = (m**2).sum() + ((s - t) ** 2).sum()
    assert metrics.frechet_of_moments(m, a, np.zeros(5), b) == pytest.approx(expected)


def test_frechet_distance_agrees_with_the_matrix_root_of_scipy() -> None:
    a, b = random.normal(size=(400, 8)) @ random.normal(size=(8, 8)), random.normal(size=(300, 8)) + 1
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(ca @ cb)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * np.real(root))
    assert metrics.frechet_distance(a, b) == pytest.approx(expected)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-7)


def test_frechet_distance_is_real_and_symmetric_with_few_samples() -> None:
    """Six samples of 64 features: singular covariances, at which scipy's root turns complex or fails."""
    a, b = random.normal(size=(6, 64)), random.normal(size=(5, 64)) * 2
    there, back = metrics.frechet_distance(a, b), metrics.frechet_distance(b, a)
    assert isinstance(there, float)
    assert np.isfinite(there)
    assert there > 0
    assert there == pytest.approx(back, rel=1e-6)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values = np.linalg.eigvals(ca @ cb)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb) - 2 * np.sqrt(np.abs(values.real)).sum()
    assert there == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="two samples"):
        metrics.frechet_distance(a[:1], b)


def test_the_interval_of_a_frechet_distance_surrounds_it() -> None:
    a, b = random.normal(size=(60, 20)), random.normal(size=(80, 20)) + 0.3
    found = metrics.frechet(a, b, draws=50)
    assert found.low < found.value < found.high
    assert (found.value, found.count) == (metrics.frechet_distance(a, b), 60)
    more = metrics.frechet(np.repeat(a, 8, 0) + random.normal(size=(480, 20)) * 0.01, b, draws=50)
    assert more.high - more.low < found.high - found.low


def test_kid_is_the_mean_over_all_pairs_but_a_sample_with_itself() -> None:
    a, b = random.normal(size=(7, 4)), random.normal(size=(5, 4)) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within_a = np.mean([kernel(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
    within_b = np.mean([kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert metrics.kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * across)


def test_kid_is_unbiased_and_its_interval_does_not_lean() -> None:
    """Two draws of one distribution: 0 on average, also under the bootstrap, whose repeats would lift a plain one."""
    values, middles = [], []
    for _ in range(60):
        found = metrics.kid(random.normal(size=(20, 6)), random.normal(size=(20, 6)), draws=60)
        values.append(found.value)
        middles.append((found.low + found.high) / 2)
    error = np.std(values) / np.sqrt(60)
    assert abs(np.mean(values)) < 3 * error
    assert abs(np.mean(middles) - np.mean(values)) < 3 * error
    far = metrics.kid(random.normal(size=(20, 6)), random.normal(size=(20, 6)) + 2, draws=60)
    assert far.low > 0


def test_inception_score_from_none_certain_to_all_classes() -> None:
    assert metrics.inception_score(np.full((9, 3), 1 / 3)) == pytest.approx(1)
    assert metrics.inception_score(np.tile([1.0, 0, 0], (9, 1))) == pytest.approx(1)
    assert metrics.inception_score(np.tile(np.eye(3), (4, 1))) == pytest.approx(3)
    p = random.dirichlet(np.ones(5), 40)
    each = [scipy.stats.entropy(row, p.mean(0)) for row in p]
    assert metrics.inception_score(p) == pytest.approx(np.exp(np.mean(each)))


def pair(side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Two photographs and the same with noise."""
    a = random.integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    return a, np.clip(a + random.normal(0, 30, a.shape), 0, 255).astype(np.uint8)


def test_ssim_at_every_position_by_hand() -> None:
    a, b = (metrics.gray(x)[:1] for x in pair(13))
    square = np.arange(-5, 6)[:, None] ** 2 + np.arange(-5, 6) ** 2
    window = np.exp(-square / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for y in range(3):
        for x in range(3):
            p, q = (image[0, y : y + 11, x : x + 11] for image in (a, b))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert metrics.ssim(a, b)[0] == pytest.approx(np.mean(values))
    np.testing.assert_allclose(metrics.ssim(a, a), 1)
    with pytest.raises(ValueError, match="11 pixels"):
        metrics.ssim(a[:, :9], b[:, :9])


def test_ssim_and_psnr_agree_with_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is no dependency; the other oracles run")
    a, b = pair()
    for i in range(2):
        x, y = (metrics.gray(image)[i] for image in (a, b))
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        full = skimage.structural_similarity(x, y, full=True, **options)[1]
        assert metrics.ssim(a, b)[i] == pytest.approx(full[5:-5, 5:-5].mean())
        assert metrics.psnr(a, b)[i] == pytest.approx(skimage.peak_signal_noise_ratio(a[i], b[i]))


def test_psnr_of_a_known_error() -> None:
    a = np.full((1, 4, 4, 3), 100, np.uint8)
    assert metrics.psnr(a, a + np.uint8(5))[0] == pytest.approx(20 * np.log10(255 / 5))
    assert metrics.psnr(a, a)[0] == np.inf


def test_perceptual_distance_by_loops() -> None:
    a, b = ([random.normal(size=(2, c, s, s)) for c, s in ((3, 4), (5, 2))] for _ in range(2))
    weights = [random.uniform(size=3), random.uniform(size=5)]
    expected = np.zeros(2)
    for x, y, w in zip(a, b, weights, strict=True):
        for n in range(2):
            for place in np.ndindex(x.shape[2:]):
                at = (n, slice(None), *place)
                p, q = x[at], y[at]
                apart = p / np.linalg.norm(p) - q / np.linalg.norm(q)
                expected[n] += (w * apart**2).sum() / x[0, 0].size
    np.testing.assert_allclose(metrics.perceptual_distance(a, b, weights), expected)
    flat = metrics.perceptual_distance(a, b)
    np.testing.assert_allclose(flat, metrics.perceptual_distance(a, b, [np.full(3, 1 / 3), np.full(5, 1 / 5)]))
    assert not metrics.perceptual_distance(a, a).any()


def test_accuracy_counts_the_likeliest() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]])
    assert metrics.accuracy(p, 1).tolist() == [1, 0, 0]
    assert metrics.accuracy(p, np.array([1, 0, 0])).tolist() == [1, 1, 0]


def test_rank_correlation_agrees_with_scipy() -> None:
    x = np.array([0, 0.25, 0.5, 0.75, 1])
    y = np.array([[0, 1, 2, 3, 4], [5, 3, 3, 1, 0], [0, 0, 1, 1, 0.5], [2, 9, 4, 4, 7]])
    expected = [scipy.stats.spearmanr(x, row).statistic for row in y]
    np.testing.assert_allclose(metrics.rank_correlation(x, y), expected)
    assert metrics.rank_correlation(x, np.ones((1, 5)))[0] == 0


def test_cosine_and_angle() -> None:
    a, b = np.array([[1.0, 0], [3, 0], [1, 1]]), np.array([[0, 2.0], [1, 0], [-1, -1]])
    np.testing.assert_allclose(metrics.cosine(a, b), [0, 1, -1], atol=1e-12)
    np.testing.assert_allclose(metrics.geodesic(a, b), [np.pi / 2, 0, np.pi], atol=1e-6)
    assert metrics.geodesic(np.ones((2, 3, 4)), np.ones((2, 3, 4))).shape == (2,)


def test_average_content_distance_over_all_pairs_of_frames() -> None:
    clips, photo = random.normal(size=(2, 4, 3)), random.normal(size=(2, 3))
    pairs = [(i, j) for i in range(4) for j in range(i)]
    expected = [np.mean([np.linalg.norm(clip[i] - clip[j]) for i, j in pairs]) for clip in clips]
    np.testing.assert_allclose(metrics.acd(clips), expected)
    expected = [np.mean([np.linalg.norm(frame - p) for frame in clip]) for clip, p in zip(clips, photo, strict=True)]
    np.testing.assert_allclose(metrics.acd_i(clips, photo), expected)


def test_change_is_zero_for_nothing_and_in_steps_of_gray() -> None:
    a = np.full((2, 4, 4, 3), 200, np.uint8)
    b = a.copy()
    b[1, :2] -= 40
    assert metrics.change(a, b).tolist() == [0, 20]


def test_sharpness_falls_with_a_blur_and_is_squared_contrast() -> None:
    rough = random.integers(100, 150, (1, 32, 32))
    soft = (rough + np.roll(rough, 1, 1) + np.roll(rough, 1, 2)) / 3
    assert metrics.sharpness(rough, soft)[0] < 0.5
    assert metrics.sharpness(rough, rough * 1.5)[0] == pytest.approx(2.25)
    half = rough.astype(float)
    half[:, 16:] = 128
    assert metrics.sharpness(rough, half, slice(2, 14))[0] == 1
    assert metrics.sharpness(rough, half)[0] < 1


def test_changed_outside_counts_pixels_beyond_the_mask_alone() -> None:
    a = np.zeros((1, 4, 4, 3), np.uint8)
    b, mask = a.copy(), np.zeros((1, 4, 4), bool)
    mask[:, :, :2] = True
    b[0, :, 0] = 90  # inside
    b[0, 1, 3, 2] = 3
    b[0, 2, 3, 1] = 2  # too little to be seen
    assert metrics.changed_outside(a, b, mask)[0] == 1 / 8
    assert metrics.changed_outside(a, b, ~mask)[0] == 4 / 8
    assert metrics.changed_outside(a, b, np.ones_like(mask))[0] == 0


def test_mds_gives_back_a_plane_and_does_not_flip() -> None:
    flat = random.normal(size=(12, 2)) * (3, 1)
    features = flat @ np.linalg.qr(random.normal(size=(9, 9)))[0][:2] + 5
    places = metrics.mds(features)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - x[None], axis=2)

    np.testing.assert_allclose(distances(places), distances(flat), atol=1e-9)
    np.testing.assert_allclose(metrics.mds(features[:, ::-1]), places, atol=1e-9)
    assert (places.max(0) > -places.min(0)).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        found = metrics.figure(random.normal(3, 2, 40), draws=200, seed=seed)
        covered += found.low <= 3 <= found.high
    assert 178 <= covered <= 198  # 95 % of 200, give or take


def test_an_interval_of_a_mean_is_that_of_scipy() -> None:
    values = random.exponential(size=80)
    found = metrics.figure(values, draws=4000)
    low, high = scipy.stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile").confidence_interval
    assert found.value == values.mean()
    assert found.count == 80
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)
    assert metrics.figure(values, draws=50) == metrics.figure(values, draws=50)
    assert metrics.figure(values, draws=50) != metrics.figure(values, draws=50, seed=1)


def test_a_persons_faces_are_drawn_together() -> None:
    """Ten faces each of eight people say no more than eight faces do."""
    each = random.normal(size=8)
    people = np.repeat(np.arange(8), 10)
    together, apart = (metrics.figure(np.repeat(each, 10), who) for who in (people, None))
    alone = metrics.figure(each)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_other_statistics() -> None:
    values = np.arange(101.0)
    assert metrics.figure(values, statistic=metrics.median).value == 50
    assert metrics.figure(values, statistic=metrics.worst).value == 5
    with pytest.raises(ValueError, match="no values"):
        metrics.figure(values[:0])
