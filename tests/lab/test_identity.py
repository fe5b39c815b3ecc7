"""identity: the triplet loss against brute force, who meets in a batch, and readers that methods look through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny import CONFIGS, faces, tiny, trainer_of
from torch import Tensor, nn

from mien.errors import MienError
from mien.lab import commands
from mien.lab.data import FaceTable, same_person
from mien.lab.faces import Faces
from mien.lab.losses import triplet
from mien.lab.method import Edit, Method, Terms, Turn
from mien.lab.readers.identity import Identity, IdentityConfig


def brute_force(embedding: Tensor, person: Tensor, margin: float) -> float:
    """The definition, pair by pair."""
    losses = []
    for a in range(len(person)):
        far = [
            (embedding[a] - embedding[n]).square().sum().item() for n in range(len(person)) if person[n] != person[a]
        ]
        for p in range(len(person)):
            if p != a and person[p] == person[a]:
                near = (embedding[a] - embedding[p]).square().sum().item()
                farther = [d for d in far if d > near]
                losses.append(max(0.0, near - (min(farther) if farther else max(far)) + margin))
    return sum(losses) / len(losses)


def test_triplet_against_brute_force() -> None:
    torch.manual_seed(0)
    embedding = nn.functional.normalize(torch.randn(12, 5), dim=1)
    person = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4])
    assert triplet(embedding, person, 0.2).item() == pytest.approx(brute_force(embedding, person, 0.2), rel=1e-4)


def test_triplet_is_0_for_people_far_apart() -> None:
    embedding = torch.eye(3).repeat_interleave(2, 0)
    assert triplet(embedding, torch.tensor([0, 0, 1, 1, 2, 2]), 0.2).item() == 0
    assert triplet(embedding, torch.tensor([0, 1, 1, 2, 2, 0]), 0.2).item() == pytest.approx(0.2), (
        "no negative is farther"
    )


def test_same_person_pairs_different_photographs_of_one_person() -> None:
    identity = torch.tensor([5, 7, 5, 9, 7, 7, 5, 3])
    sample = same_person(identity, 2, 4, seed=0)
    met = set()
    for step in range(50):
        source, target = sample(step)
        assert len(source) == len(target) == 4
        assert torch.equal(identity[source], identity[target])
        assert (source != target).all(), "people here have two photographs or more"
        assert torch.equal(source, sample(step)[0]), "a pure function of the step"
        met |= set(identity[source].tolist())
    assert met == {5, 7}, "people with one photograph do not meet themselves"


@pytest.mark.parametrize(
    ("identity", "batch", "says"),
    [([1, 1, 2, 3], 4, "two photographs"), ([1, 1, 2, 2], 3, "no multiple")],
)
def test_data_that_cannot_serve_are_refused(identity: list[int], batch: int, says: str) -> None:
    with pytest.raises(MienError, match=says):
        same_person(torch.tensor(identity), 2, batch, seed=0)


def test_it_learns_to_tell_unseen_people_apart(drawn: Path, tmp_path: Path) -> None:
    method = tiny("identity")
    trainer = trainer_of(method, drawn, tmp_path, batch=16, steps=60, decay=0.0)
    assert separation(method, drawn) < 0.3
    for step in range(60):
        trainer.step(step)
    assert separation(method, drawn) > 0.5


@torch.no_grad()
def separation(method: Method, drawn: Path) -> float:
    """How far apart the cosines of the same and of different held-out people lie, on average."""
    method.eval()
    table = faces(drawn, "val")
    read = method(table.take(torch.arange(len(table))).image)
    person = table.faces.identity
    cosine, same = read @ read.T, person[:, None] == person[None]
    return (cosine[same & (cosine < 0.9999)].mean() - cosine[~same].mean()).item()


@dataclass(frozen=True)
class GlassesConfig:
    """size: side of the crop."""

    size: int = 32


class Glasses(Method):
    """A method that looks through a trained reader."""

    Config = GlassesConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("tint",)

    def __init__(self, config: GlassesConfig) -> None:
        super().__init__(config)
        self.tint = nn.Conv2d(3, 3, 1)
        self.identity = Identity(IdentityConfig(**CONFIGS["identity"]))

    def turns(self, step: int) -> list[Turn]:
        return [Turn("tint", ("tint",), self.loss)]

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        return Edit(source.image + intensity.view(-1, 1, 1, 1) * self.tint(source.image))

    def loss(self, source: Faces, target: Faces) -> Terms:
        return {"alike": (1 - (self.identity(source.image) * self.identity(self.tint(source.image))).sum(1)).mean()}


def test_a_reader_inside_a_method_never_learns(drawn: Path, tmp_path: Path) -> None:
    method = Glasses(GlassesConfig())
    trainer = trainer_of(method, drawn, tmp_path)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    for step in range(2):
        trainer.step(step)
    moved = {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"tint"}, "not even the reader's batch statistics"
    assert set(trainer.optimizers) == {"tint"}


def test_a_method_gets_its_readers_weights_from_a_run(drawn: Path, tmp_path: Path) -> None:
    trainer_of(tiny("identity"), drawn, tmp_path / "identity", "identity", steps=2).run()
    trained, _ = commands.restore(tmp_path / "identity")
    method = Glasses(GlassesConfig())
    commands.bring_readers(method, [tmp_path / "identity"])
    for key, value in trained.state_dict().items():
        assert torch.equal(method.identity.state_dict()[key], value), key


def test_a_missing_or_misfit_reader_is_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="mien train identity"):
        commands.bring_readers(Glasses(GlassesConfig()), [])
    wide = Identity(IdentityConfig(**CONFIGS["identity"] | {"length": 16}))
    trainer_of(wide, drawn, tmp_path / "wide", "identity", steps=1).run()
    with pytest.raises(MienError, match="other shapes"):
        commands.bring_readers(Glasses(GlassesConfig()), [tmp_path / "wide"])


def test_a_table_is_not_needed_to_say_so(drawn: Path, tmp_path: Path) -> None:
    """One photograph a person: refused when the trainer is made, before step 0."""
    table = faces(drawn)
    lonely = FaceTable(table.faces.having(identity=torch.arange(len(table))), table.names, table.digest)
    with pytest.raises(MienError, match="check column identity"):
        tiny("identity").sampler(lonely, Identity.recipe)
