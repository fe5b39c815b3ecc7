"""What fills a mouth: it sees nothing of the answer, changes nothing else, and learns what lies behind lips."""

from __future__ import annotations

from pathlib import Path

import torch
from drawn import average_face
from tiny import faces
from torch import Tensor

from mien.expressions import EXPRESSIONS
from mien.lab import mouth
from mien.lab.faces import Faces
from mien.lab.geometry import gaps, inside
from mien.lab.mouth import Filler, MouthCritic

SIZE = 64


def wide(drawn: Path, split: str = "train") -> Faces:
    """Faces whose mouths stand open."""
    table = faces(drawn, split, SIZE)
    rows = (table.faces.emotion == EXPRESSIONS.index("surprise")).nonzero()[:, 0]
    return table.take(rows).only("image", "blendshapes", "landmarks")


def hole_of(face: Faces) -> Tensor:
    return inside(face.landmarks, SIZE)


@torch.no_grad()
def test_outside_the_hole_nothing_changes_and_inside_nothing_is_seen(drawn: Path) -> None:
    torch.manual_seed(0)
    face, filler = wide(drawn, "val"), Filler(8)
    hole = hole_of(face)
    filled = filler(face.image, hole, face.blendshapes)
    assert torch.equal(filled * (hole == 0), face.image * (hole == 0))
    assert not torch.equal(filled, face.image)
    other = torch.where(hole == 1, torch.rand_like(face.image), face.image)
    torch.testing.assert_close(filler(other, hole, face.blendshapes) * hole.floor(), filled * hole.floor())


def test_what_lies_deep_in_a_mouth_is_shown_lighter_and_gums_and_lips_as_they_are() -> None:
    image = torch.full((1, 3, SIZE, SIZE), -0.2)
    image[..., 34:36, 30:34] = 0.99
    hole = torch.zeros(1, 1, SIZE, SIZE)
    hole[..., 30:40, 20:44] = 1
    shown = mouth.lightened(image, hole)
    torch.testing.assert_close(shown[..., 32, 24], (1 + mouth.BRIGHTER) * (1 + image[..., 32, 24]) - 1)
    assert shown.max() == 1, "no lighter than white"
    rim = torch.ones_like(hole, dtype=torch.bool)
    rim[..., 31:39, 21:43] = False
    assert torch.equal(shown[rim.expand_as(image)], image[rim.expand_as(image)])


@torch.no_grad()
def test_holes_are_mouths_some_with_a_part_left() -> None:
    torch.manual_seed(0)
    points = torch.tensor(average_face()).float().expand(400, -1, -1).clone()
    points[:, [65, 66, 67], 1] += 0.08
    whole, holes = inside(points[:1], SIZE).sum(), mouth.made(points, SIZE).sum((1, 2, 3))
    assert holes.max() <= whole + 1e-3
    partly = (holes < 0.98 * whole).float().mean()
    assert 0.15 < partly < mouth.PARTLY + 0.08
    assert (holes > 0.1 * whole).all()


@torch.no_grad()
def test_the_lips_of_some_are_nearer_and_the_rest_as_they_were(drawn: Path) -> None:
    torch.manual_seed(0)
    face = wide(drawn)
    nearer = mouth.narrowed(face)
    share = gaps(nearer.landmarks) / gaps(face.landmarks)
    left = (nearer.image == face.image).flatten(1).all(1)
    assert 0.1 < left.float().mean() < 0.5
    assert torch.equal(nearer.landmarks[left], face.landmarks[left])
    assert share[~left].min() > 0.15
    assert share[~left].max() < 1.05
    assert share[~left].mean() < 0.75


def test_the_critic_learns_to_tell_and_r1_counts_its_slope(drawn: Path) -> None:
    torch.manual_seed(0)
    face, filler, critic = wide(drawn), Filler(8), MouthCritic(8)
    first = mouth.critic_loss(filler, critic, face)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        mouth.critic_loss(filler, critic, face)["hinge"].backward()
        optimizer.step()
    assert mouth.critic_loss(filler, critic, face)["hinge"] < 0.5 * first["hinge"]
    assert set(first) == {"hinge"}
    for leave in (1.0, 2.0):
        critic.leave.weight.data.mul_(leave)
        torch.manual_seed(0)
        slope = mouth.critic_loss(filler, critic, face, steep=True)["r1"].item()
        if leave == 1:
            before = slope
    assert abs(slope / before - 4) < 0.01, "twice as steep, four times as dear"


def test_a_filler_learns_mouths_and_fills_those_of_others(drawn: Path) -> None:
    torch.manual_seed(0)
    face, other, filler, critic = wide(drawn), wide(drawn, "val"), Filler(8), MouthCritic(8)

    @torch.no_grad()
    def error() -> float:
        hole = hole_of(other)
        filled = filler(other.image, hole, other.blendshapes)
        return ((hole * (filled - other.image).abs()).sum() / hole.sum()).item()

    before = error()
    optimizer = torch.optim.Adam(filler.parameters(), 2e-3)
    for _ in range(60):
        terms = mouth.filler_loss(filler, critic, face[torch.randint(len(face), (12,))])
        optimizer.zero_grad()
        (terms["answer"] + terms["match"]).backward()
        optimizer.step()
    assert error() < 0.4 * before


def test_fooling_is_paid_for(drawn: Path) -> None:
    face, filler, critic = wide(drawn, "val"), Filler(8), MouthCritic(8)
    losses = []
    for shift in (0.0, 1.0):
        critic.leave.bias.data.fill_(shift)
        torch.manual_seed(0)
        losses.append(mouth.filler_loss(filler, critic, face)["fool"].item())
    assert losses[1] < losses[0] - 0.9


def test_faces_without_a_hole_cost_nothing(drawn: Path) -> None:
    face = wide(drawn, "val")
    shut = face.landmarks.clone()
    shut[:, 60:] = shut[:, [60]]
    face = face.having(landmarks=shut)
    filler, critic = Filler(8), MouthCritic(8)
    for loss in (mouth.critic_loss, mouth.filler_loss):
        terms = loss(filler, critic, face)
        assert all(abs(term.item()) in (0.0, 2.0) for term in terms.values())
