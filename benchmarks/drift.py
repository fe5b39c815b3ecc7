"""What becomes of a person over the frames of a made expression: ACD, ACD-I, the expression seen, Inception score.

    python benchmarks/drift.py --motion runs/motiongan --texture runs/texturegan --data lfw-expressions-128.parquet \
        --judges weights/ --sheet sheet.jpg

Neutral photographs of people of the test split perform six expressions, a motion of MotionGAN's each: painted frame by
frame by a run of ``landmarkcgan --no-fusion --identity 5`` (TextureGAN), and by the photograph model as `mien perform`
does. ACD is the mean distance of all pairs of a clip's frames, ACD-I that of the frames to the photograph; features are
MobileFaceNet's, of length 1, which nobody learned from. The expression is what face-api calls the last frame. Bootstrap
95 % intervals over people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from mien import Editor, target
from mien.editor import Seen
from mien.expressions import EXPRESSIONS
from mien.lab import metrics
from mien.lab.commands import restore
from mien.lab.data import FaceTable, load
from mien.lab.faces import Faces
from mien.lab.judges import FaceApi, MobileFaceNet
from mien.lab.methods.landmarkcgan import LandmarkCGAN
from mien.lab.methods.motiongan import MotionGAN
from mien.lab.sheet import write_grid
from mien.photo.find import face_of
from mien.target import Target
from mien.video.dynamics import PART_OF, takes
from mien.video.edit import on_one_thread

TIMES = (0, 6, 10, 16, 32)
"""Which of a motion's 33 frames are made: neutral, onset, and the hold."""


@torch.no_grad()
def main(
    motion: Path, texture: Path, data: Path, judges: Path, people: int = 12, sheet: Path | None = None, seed: int = 0
) -> None:
    """Print a table.

    Args:
        motion: A run of motiongan.
        texture: A run of landmarkcgan.
        data: The Parquet manifest of faces.
        judges: The folder of MobileFaceNet.onnx and face-api-expression.onnx.
        people: How many.
        sheet: Also write the frames of three people: for each expression TextureGAN's row above the photograph model's.
        seed: Of the choice of people, and of the motions.
    """
    motions, textures = restore(motion)[0], restore(texture)[0]
    assert isinstance(motions, MotionGAN), f"{motion} is no run of motiongan"
    assert isinstance(textures, LandmarkCGAN), f"{texture} is no run of landmarkcgan"
    table = load(data, "test", frozenset({"image", "emotion", "landmarks", "blendshapes", "identity"}), 128)
    rows = neutral_people(table, people, seed)
    source = table.take(rows)
    names = [name for name, far in zip(EXPRESSIONS, motions.length.tolist(), strict=True) if far]
    torch.manual_seed(seed)
    noise = torch.randn(len(names), motions.config.noise)
    clips = {"TextureGAN": [], "flowfill, as `mien perform`": []}  # (people, frames, S, S, 3) of each expression
    for name, z in zip(names, noise, strict=True):
        label = torch.full((people,), EXPRESSIONS.index(name))
        path = motions.perform(source.landmarks, label, z.expand(people, -1), torch.ones(people))[:, list(TIMES)]
        clips["TextureGAN"].append(painted(textures, source, path))
        clips["flowfill, as `mien perform`"].append(performed(source, name))
    reader, judge = MobileFaceNet(judges / "MobileFaceNet.onnx"), FaceApi(judges / "face-api-expression.onnx")
    photographs = levels(source.image)
    own = metrics.unit(reader.read(photographs))
    print(f"{people} people, {len(names)} expressions, {len(TIMES)} frames each\n")
    print("| | ACD | ACD-I | last frame seen as meant | Inception score |\n| --- | --- | --- | --- | --- |")
    who, meant = np.tile(np.arange(people), len(names)), np.repeat([EXPRESSIONS.index(name) for name in names], people)
    for kind, made in clips.items():
        frames = np.concatenate(made)
        features = metrics.unit(reader.read(frames.reshape(-1, *frames.shape[2:]))).reshape(*frames.shape[:2], -1)
        chance = judge.read(frames[:, -1])
        right = (chance.argmax(1) == meant).astype(float)
        told = [metrics.acd(features), metrics.acd_i(features, own[who]), right]
        shown = [metrics.figure(values, who) for values in told]
        cells = " | ".join(f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in shown)
        print(f"| {kind} | {cells} | {metrics.inception_score(chance):.2f} |")
    print(f"\ntwo people lie {float(metrics.acd(own[None])[0]):.3f} apart")
    if sheet:
        write_grid(grid(clips, min(3, people)), sheet)


def neutral_people(table: FaceTable, people: int, seed: int) -> Tensor:
    """Rows of so many people's neutral photographs, one each."""
    neutral = (table.faces.emotion == EXPRESSIONS.index("neutral")).nonzero()[:, 0].numpy()
    order = np.random.default_rng(seed).permutation(neutral)
    _, first = np.unique(table.faces.identity.numpy()[order], return_index=True)
    return torch.from_numpy(order[np.sort(first)[:people]])


def painted(method: LandmarkCGAN, source: Faces, path: Tensor) -> np.ndarray:
    """(B, T, S, S, 3): the photographs with the face where ``path`` (B, T, 68, 2) has it."""
    size, count = method.config.size, path.shape[1]
    small = torch.nn.functional.interpolate(source.image, size=size, mode="bilinear", antialias=True)
    frames = method.painted(small.repeat_interleave(count, 0), path.flatten(0, 1))
    return levels(frames).reshape(len(path), count, size, size, 3)


def performed(source: Faces, name: str) -> np.ndarray:
    """(B, T, 128, 128, 3): each photograph in the first learned motion of expression ``name``."""
    editor, curve, to = on_one_thread(Editor()), takes()[name][0], target.by_name(name)
    clips = []
    for rgb, landmarks, scores in zip(
        levels(source.image), source.landmarks.numpy(), source.blendshapes.numpy(), strict=True
    ):
        side = len(rgb)
        matrix = np.array([[1 / side, 0, 0], [0, 1 / side, 0]])
        seen = [Seen(face_of(landmarks * side, 1.0), matrix, scores, np.eye(len(EXPRESSIONS))[0])]
        frames = []
        for time in TIMES:
            share = curve[:, time][PART_OF]
            most = max(float(share.max()), 1e-3)
            goal = (scores + share / most * (to.goal(scores) - scores)).astype(np.float32)
            wish = Target(scores=goal, emotion=to.emotion, face=to.face)
            frames.append(editor.edit(rgb, wish, intensity=min(most, 1.5), seen=seen).rgb)
        clips.append(frames)
    return np.array(clips)


def grid(clips: dict[str, list[np.ndarray]], people: int) -> Tensor:
    """(rows, columns, 3, 128, 128): people side by side, expressions and ways below each other."""
    rows = []
    for each in zip(*clips.values(), strict=True):
        for frames in each:
            some = torch.from_numpy(frames[:people]).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
            rows.append(torch.nn.functional.interpolate(some, size=128))
    return torch.stack(rows)


def levels(images: Tensor) -> np.ndarray:
    """(N, 3, S, S) in [-1, 1] -> (N, S, S, 3) uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    tyro.cli(main)
