"""GANimation's promise, small enough for every run: nine muscles, each driven alone, each grows with what is asked.

Faces are drawn, so a muscle's true effect on the pixels is known: the difference between drawings with and without it.
An edit is measured by how much of each of these nine differences it holds, where no network has a say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from drawn import average_face, draw_face
from torch import Tensor

from mien.expressions import BLENDSHAPES
from mien.lab.data import FaceTable
from mien.lab.faces import Faces
from mien.lab.method import Optimizer
from mien.lab.methods.ganimation import GANimation, GANimationConfig
from mien.lab.trainer import Trainer

SIDE, STEPS = 24, 450

NINE: dict[str, list[tuple[list[int], float, float]]] = {
    "browInnerUp": [([20, 21, 22, 23], 0.0, -0.09)],
    "browOuterUpLeft": [([25, 26], 0.0, -0.1)],
    "browOuterUpRight": [([17, 18], 0.0, -0.1)],
    "eyeWideLeft": [([43, 44], 0.0, -0.06), ([46, 47], 0.0, 0.06)],
    "eyeWideRight": [([37, 38], 0.0, -0.06), ([40, 41], 0.0, 0.06)],
    "mouthSmileLeft": [([53, 54, 55, 63, 64, 65], 0.05, -0.08)],
    "mouthSmileRight": [([48, 49, 59, 60, 61, 67], -0.05, -0.08)],
    "jawOpen": [([56, 57, 58, 66], 0.0, 0.13)],
    "mouthShrugUpper": [([50, 51, 52], 0.0, -0.08)],
}
"""By blendshape: which landmarks move, and by how much of the crop's side."""

PLACES = [BLENDSHAPES.index(name) for name in NINE]


class Quick(GANimation):
    """At ten times the learning rate and more."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3 if network == "generator" else 4e-3, betas=(0.5, 0.99))


def draw(strengths: np.ndarray, seed: int) -> Tensor:
    """(N, 9) in [0, 1] -> (N, 3, SIDE, SIDE) uint8; the same seed draws the same people."""
    rng, pictures = np.random.default_rng(seed), []
    for face in strengths:
        points = average_face() + rng.normal(0, 0.003, (68, 2))
        for strength, moves in zip(face, NINE.values(), strict=True):
            for which, x, y in moves:
                points[which] += strength * np.array([x, y])
        skin, ground = tuple(rng.integers(150, 250, 3).tolist()), rng.integers(0, 150, (6, 6, 3))
        pictures.append(draw_face(points, skin, ground, SIDE))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def table(strengths: np.ndarray, seed: int) -> FaceTable:
    """Drawn faces with those nine muscles."""
    shapes = torch.zeros(len(strengths), len(BLENDSHAPES))
    shapes[:, PLACES] = torch.from_numpy(strengths).float()
    return FaceTable(Faces(draw(strengths, seed), blendshapes=shapes), [str(i) for i in range(len(strengths))], "drawn")


@torch.no_grad()
def held(method: GANimation, calm: Faces, changes: Tensor) -> Tensor:
    """(9 driven, 4 intensities, 9 measured): how much of each muscle's true change is in the edits, 1 being all.

    Driven to 0.8 at most: the drawn faces end at 1, where answers level off.
    """
    answers = []
    for place in PLACES:
        wish = calm.blendshapes.clone()
        wish[:, place] = 0.8
        for at in (0.25, 0.5, 0.75, 1.0):
            edited = method.edit(calm, Faces(blendshapes=wish), torch.full((len(calm),), at)).image
            difference = (edited - calm.image).flatten(1)[..., None]
            answers.append(torch.linalg.lstsq(changes, difference).solution[..., 0].mean(0))
    return torch.stack(answers).view(9, 4, 9)


def test_each_of_nine_muscles_grows_with_what_is_asked_and_most_when_it_is_driven_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GANimationConfig(size=SIDE, width=16, blocks=1, critic_steps=1, muscles=1500.0, reconstruct=2.0)
    recipe = replace(GANimation.recipe, batch=16, steps=STEPS, decay=0.5, bf16=False, device="cpu")
    learned = table(np.random.default_rng(0).uniform(0, 1, (600, 9)), 0)
    trainer = Trainer("ganimation", Quick(config), learned, tmp_path, recipe)

    everyone = torch.arange(12)
    calm = table(np.zeros((12, 9)), 1).take(everyone)
    alone = [table(np.eye(9)[[k] * 12], 1).take(everyone).image - calm.image for k in range(9)]
    changes = torch.stack(alone, -1).flatten(1, 3)

    before = held(trainer.method.eval(), calm, changes)
    assert (before[:, 3] - before[:, 0]).diagonal().abs().max() < 0.1, "the check itself: untaught, none follows"
    for step in range(STEPS):
        trainer.step(step)
    after = held(trainer.method.eval(), calm, changes)
    own, grown = after.diagonal(dim1=0, dim2=2).T, after[:, 3] - after[:, 0]
    assert (own.diff(dim=1) > 0).all(), own
    assert (grown.diagonal() > 0.05).all(), grown
    assert torch.equal(grown.argmax(0), torch.arange(9)), "a muscle moves most when it is driven itself"
