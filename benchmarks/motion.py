"""Motions for ``mien train motiongan``, and what the trained method makes of them.

    python benchmarks/motion.py data --face-model ict-face-model.npz --clips expression-clips.npz -o motion.parquet
    mien train motiongan --data motion.parquet --out runs/motiongan
    python benchmarks/motion.py measure --run runs/motiongan --data motion.parquet -o figures

``data`` drives the ICT face model (MIT licence) from neutral to the peak of six expressions, each time another person,
another strength of each muscle and another course in time, and cuts what resembles an expression out of the clips.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter1d

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE
from mien.lab import metrics, motion
from mien.lab.commands import restore
from mien.lab.faces import Faces
from mien.lab.methods.motiongan import FPS, FRAMES, MotionGAN, load_motions, motions
from mien.target import prototypes

# fmt: off
MUSCLES = {  # after EMFACS (Friesen & Ekman 1983): action units as blendshapes of the face model, at the peak
    "happiness": {"mouthSmile": 0.9, "cheekRaiser": 0.6, "cheekSquint": 0.5, "eyeSquint": 0.4, "mouthUpperUp": 0.2,
                  "jawOpen": 0.12, "mouthDimple": 0.2},
    "surprise": {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "jawOpen": 0.55, "mouthFunnel": 0.15},
    "sadness": {"browInnerUp": 0.8, "browDown": 0.3, "mouthFrown": 0.8, "mouthShrugLower": 0.5, "eyeBlink": 0.2,
                "mouthPress": 0.2},
    "anger": {"browDown": 1.0, "eyeSquint": 0.4, "eyeWide": 0.25, "mouthPress": 0.7, "mouthRollLower": 0.4,
              "mouthRollUpper": 0.3, "noseSneer": 0.35, "jawForward": 0.3},
    "disgust": {"noseSneer": 1.0, "mouthUpperUp": 0.8, "browDown": 0.5, "cheekSquint": 0.5, "eyeSquint": 0.5,
                "mouthFrown": 0.3, "mouthShrugLower": 0.3},
    "fear": {"browInnerUp": 0.9, "browOuterUp": 0.4, "browDown": 0.35, "eyeWide": 0.9, "mouthStretch": 0.9,
             "mouthLowerDown": 0.4, "jawOpen": 0.2},
}
RISE = {"happiness": (0.3, 0.7), "surprise": (0.15, 0.35), "sadness": (0.5, 1.0), "anger": (0.3, 0.6),
        "disgust": (0.3, 0.6), "fear": (0.2, 0.45)}
# fmt: on
"""Seconds from a tenth to nine tenths of the way."""
PARTS = {"brow": "brows", "eye": "eyes", "cheek": "eyes", "nose": "mouth", "jaw": "mouth", "mouth": "mouth"}


def acted(model: dict[str, np.ndarray], expression: str, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(FRAMES, 68, 2) of one person, ``shape`` (100,), from neutral to ``expression``."""
    at = model["landmark_vertices"]
    names = [str(name) for name in model["expression_names"]]
    neutral = model["neutral"][at] + np.tensordot(shape, model["identity"][:, at].astype(float), 1)
    frames = np.repeat(neutral[None], FRAMES, 0)
    low, high = RISE[expression]
    rise, onset, strength = rng.uniform(low, high), rng.uniform(0, 0.2), rng.lognormal(-0.1, 0.2)
    damping = rng.uniform(0.55, 0.98)
    lag = {part: rng.normal(0, 0.06) for part in ("brows", "eyes", "mouth")}
    for muscle, peak in MUSCLES[expression].items():
        part = next(value for key, value in PARTS.items() if muscle.startswith(key))
        start = max(onset + lag[part] + rng.normal(0, 0.02), 0)
        course = response(np.arange(FRAMES) / FPS - start, rise * rng.lognormal(0, 0.1), damping)
        course = course * (1 + 0.04 * rng.normal() * np.sin(np.arange(FRAMES) / FPS * rng.uniform(1, 4)))
        amount = peak * strength * rng.lognormal(0, 0.2)
        for side in ("_L", "_R") if f"{muscle}_L" in names else ("",):
            uneven = amount * (1 + 0.08 * rng.normal())
            moved = model["expression"][names.index(muscle + side), at].astype(float)
            frames += (uneven * course).clip(0, 1.1)[:, None, None] * moved
    yaw, pitch = np.radians(rng.normal(0, 5, 2))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    seen = (frames - neutral.mean(0)) @ (nod @ turn).T
    return motion.normalised(torch.from_numpy(seen[..., :2] * (1, -1))).numpy()


def response(time: np.ndarray, rise: float, damping: float) -> np.ndarray:
    """Step response of a damped oscillator (T,): onset at time 0, overshoot, hold. rise: seconds from 0.1 to 0.9."""
    speed = (1 + 1.1 * damping + 1.4 * damping**2) / rise  # Kuo's approximation of the rise time
    turn = speed * np.sqrt(1 - damping**2)
    t = time.clip(0)
    return 1 - np.exp(-damping * speed * t) * (np.cos(turn * t) + damping * speed / turn * np.sin(turn * t))


def cut(clips: dict[str, np.ndarray], name: str, alike: float = 0.7) -> list[tuple[str, np.ndarray]]:
    """(expression, path) of each stretch of a clip whose blendshapes change as the prototype of an expression does.

    Wanted: cosine of the change from first to last frames with (prototype - neutral) of at least ``alike``, and at
    least 0.6 of the prototype's way, gaze and blinks left out; and a tip of the nose that stays within 0.015 of the
    crop, since a turning head moves everything. The labels are as good as that: people talk in these clips.
    """
    rate = float(clips[f"{name}/fps"])
    shapes, points = (clips[f"{name}/{what}"].astype(float) for what in ("blendshapes", "landmarks"))
    known = ~np.isnan(points).any((1, 2))
    if known.sum() < 2:
        return []
    seen, time = np.flatnonzero(known) / rate, np.arange(0, (len(points) - 1) / rate, 1 / FPS)
    both = np.concatenate([shapes, points.reshape(len(points), -1)], 1)[known]
    smooth = gaussian_filter1d(both, 0.05 * rate, axis=0)
    even = np.stack([np.interp(time, seen, column) for column in smooth.T], 1)
    gap = known[np.minimum((time * rate).round().astype(int), len(known) - 1)]
    stored = prototypes()
    use = [i for i, b in enumerate(BLENDSHAPES) if b not in GAZE and not b.startswith(("eyeBlink", "_"))]
    wish = np.stack([(stored[e] - stored["neutral"])[use] for e in MUSCLES])
    found, last = [], -FRAMES
    for start in range(0, len(time) - FRAMES + 1, 2):
        window = even[start : start + FRAMES]
        if start - last < FRAMES // 3 or not gap[start : start + FRAMES].all():
            continue
        change = window[-4:, use].mean(0) - window[:3, use].mean(0)
        cosine = wish @ change / np.linalg.norm(wish, axis=1) / max(np.linalg.norm(change), 1e-9)
        best = cosine.argmax()
        if cosine[best] >= alike and wish[best] @ change >= 0.6 * wish[best] @ wish[best]:
            path = motion.normalised(torch.from_numpy(window[:, len(BLENDSHAPES) :].reshape(FRAMES, 68, 2))).numpy()
            if np.abs(path[:, 30] - path[0, 30]).max() < 0.015:
                found.append((list(MUSCLES)[best], path))
                last = start
    return found


def data(
    face_model: Path,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    clips: Path | None = None,
    people: int = 1000,
    seed: int = 0,
) -> None:
    """Write motions: six expressions of ``people`` random people (8 of 10 to learn from), and those cut from clips.

    Args:
        face_model: ICT face model as .npz.
        out: The Parquet manifest to write.
        clips: Measured clips as .npz; every third clip is for test, the others for train.
        people: How many people the face model makes up.
        seed: Of all that is random.
    """
    model, rng = dict(np.load(face_model)), np.random.default_rng(seed)
    rows: list[dict[str, object]] = []

    def add(person: str, split: str, expression: str, path: np.ndarray) -> None:
        about = {"name": f"{person}-{expression}-{len(rows)}", "identity": person, "emotion": expression}
        rows.append(about | {"split": split, "motion": path.astype(np.float32).ravel()})

    for number in range(people):
        split = ("val", "test")[number % 2] if number % 10 < 2 else "train"
        shape = rng.normal(0, 0.8, len(model["identity"]))
        for expression in MUSCLES:
            add(f"ict{number:04d}", split, expression, acted(model, expression, shape, rng))
    if clips is not None:
        measured = dict(np.load(clips))
        for number, name in enumerate(sorted({key.split("/")[0] for key in measured if "/" in key})):
            for expression, path in cut(measured, name):
                add(name, "test" if number % 3 == 0 else "train", expression, path)
    pq.write_table(pa.Table.from_pylist(rows), out)
    told = Counter((row["split"], row["emotion"], str(row["identity"])[:3] == "ict") for row in rows)
    for (split, expression, made), count in sorted(told.items()):
        print(f"{split:5} {expression:9} {count:5} {'of the face model' if made else 'cut from clips'}")


def measure(
    run: Path, data: Path, out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("figures"), count: int = 200
) -> None:
    """Print how ``count`` dreams a label compare with real test motions, and draw both (``motions.png``).

    The classifier is a linear softmax on tangent vectors, fitted on split train. Distances are geodesic, in radians.
    Intervals are bootstrapped, over people for real motions.
    """
    method, _ = restore(run)
    size = method.config.size
    train, test = (load_motions([data], split, size) for split in ("train", "test"))
    made = torch.tensor([name.startswith("ict") for name in test.names])
    person = np.array([name.split("-")[0] for name in test.names])[made.numpy()]
    labels = train.faces.emotion.unique()
    torch.manual_seed(0)
    emotion = labels.repeat_interleave(count)
    with torch.no_grad():
        dreams = method.dream(emotion, torch.randn(len(emotion), method.config.noise))
    learned, real = motions(train.faces), motions(test.faces)
    read = classifier(motion.log(method.base, learned), train.faces.emotion)
    means = {int(k): motion.karcher_mean(learned[train.faces.emotion == k]) for k in labels}
    groups = {"real": (real[made], test.faces.emotion[made], person), "dreamt": (dreams, emotion, None)}
    if not made.all():
        groups["clips"] = (real[~made], test.faces.emotion[~made], None)
    for name, (points, label, people) in groups.items():
        chance = read(motion.log(method.base, points))
        away = torch.stack([motion.distance(points, means[int(k)].expand_as(points)) for k in labels], 1)
        own = away[labels == label[:, None]]
        other = away.masked_fill(labels == label[:, None], torch.inf).amin(1)
        told = {"right": metrics.accuracy(chance, label.numpy()), "own mean": own, "nearest other mean": other}
        told["roughness"] = roughness(points)
        print(name, len(points), *(f"{k} {shown(np.asarray(v), people)}" for k, v in told.items()), sep=" | ")
        score = [metrics.inception_score(np.repeat(chance, w, 0)) for w in metrics.resamples(len(chance), people, 200)]
        low, high = np.percentile(score, [2.5, 97.5])
        print(f"  inception score {metrics.inception_score(chance):.2f} [{low:.2f}, {high:.2f}]")
        for k in labels:
            some = points[label == k]
            if len(some) < 8:
                continue
            pairs = motion.distance(some, some[torch.randperm(len(some))].roll(1, 0))
            near = torch.stack(
                [
                    motion.distance(x.expand_as(p), p).amin()
                    for p in [learned[train.faces.emotion == k]]
                    for x in some[:50]
                ]
            )
            right = metrics.accuracy(chance[(label == k).numpy()], int(k))
            print(
                f"  {EXPRESSIONS[k]:9} right {right.mean():.3f}, own mean {own[label == k].mean():.2f}, pairs "
                f"{pairs.mean():.2f}, nearest of train {near.mean():.2f}"
            )
    draw(method, test.faces[made], out)


def classifier(vectors: torch.Tensor, label: torch.Tensor) -> Callable[[torch.Tensor], np.ndarray]:
    """Chances (N, 7) of each label by softmax regression with a small weight decay."""
    linear = torch.nn.Linear(vectors[0].numel(), len(EXPRESSIONS))
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (
            torch.nn.functional.cross_entropy(linear(vectors.flatten(1)), label) + 1e-4 * linear.weight.square().sum()
        )
        value.backward()
        return value

    optimizer.step(loss)
    return lambda x: linear(x.flatten(1)).softmax(1).detach().numpy()


def roughness(q: torch.Tensor) -> torch.Tensor:
    """(N,) how much of a path's velocity changes from frame to frame: 0 is a straight line at one speed."""
    path = motion.integrate(q, torch.zeros(len(q), 68, 2))
    return path.diff(dim=1).diff(dim=1).flatten(1).norm(dim=1) / path.diff(dim=1).flatten(1).norm(dim=1)


def shown(values: np.ndarray, people: np.ndarray | None) -> str:
    figure = metrics.figure(values, people)
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def draw(method: MotionGAN, faces: Faces, out: Path, side: int = 130) -> None:
    """For each label a real motion and two dreams of the same person, one row each, time to the right."""
    lines = [range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)]
    lines += [[*part, part[0]] for part in (range(36, 42), range(42, 48), range(48, 60), range(60, 68))]
    rows = []
    for k in faces.emotion.unique():
        one = faces.landmarks[faces.emotion == k][-1].transpose(0, 1)
        with torch.no_grad():
            noise = torch.randn(2, method.config.noise)
            rows += [one, *method.perform(one[:1].expand(2, 68, 2), k.repeat(2), noise, torch.ones(2))]
    times = np.linspace(0, method.config.size - 1, 9).round().astype(int)
    picture = Image.new("L", (side * len(times), side * len(rows)), 255)
    pen = ImageDraw.Draw(picture)
    for r, path in enumerate(rows):
        for c, time in enumerate(times):
            points = (path[time].numpy() * 0.8 + (c + 0.1, r + 0.02)) * side
            for line in lines:
                pen.line([tuple(points[i]) for i in line], fill=0 if r % 3 else 130)
    out.mkdir(parents=True, exist_ok=True)
    picture.save(out / "motions.png")


def curves(run: Path, data: Path, out: Annotated[Path, tyro.conf.arg(aliases=["-o"])], takes: int = 8) -> None:
    """Write when each part of a face moves in ``takes`` dreams a label, as JSON that needs no torch to read.

    Least squares of a part's displacement on its displacement at the real motions' peak, in percent of the hold (the
    last five frames). Takes that go beyond 110 % are left out: photograph models do not look well there. This is the
    form of ``src/mien/video/dynamics.json``.
    """
    method, _ = restore(run)
    faces = load_motions([data], "train", method.config.size).faces
    told: dict[str, list[dict[str, list[int]]]] = {}
    torch.manual_seed(0)
    for k in faces.emotion.unique():
        real = faces.landmarks[faces.emotion == k].transpose(1, 2)
        peak = (real[:, -5:].mean(1) - real[:, 0]).mean(0)
        with torch.no_grad():
            noise = torch.randn(takes, method.config.noise)
            paths = method.perform(real[:takes, 0], k.repeat(takes), noise, torch.ones(takes))
        away = paths - paths[:, :1]
        dreamt: list[dict[str, list[int]]] = [{} for _ in range(takes)]
        for part, rows in (("brows", slice(17, 27)), ("eyes", slice(36, 48)), ("mouth", slice(48, 68))):
            curve = (away[:, :, rows] * peak[rows]).sum((2, 3))
            percent = (100 * curve / curve[:, -5:].mean(1, keepdim=True)).clamp(min=0).round().int()
            for take, line in zip(dreamt, percent.tolist(), strict=True):
                take[part] = line
        told[EXPRESSIONS[k]] = [take for take in dreamt if max(map(max, take.values())) <= 110]
    lines = {name: ",\n".join(json.dumps(take, separators=(",", ":")) for take in some) for name, some in told.items()}
    out.write_text("{\n" + ",\n".join(f'"{name}": [\n{some}]' for name, some in lines.items()) + "\n}\n")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"data": data, "measure": measure, "curves": curves})
