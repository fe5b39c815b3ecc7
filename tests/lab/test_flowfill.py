"""flowfill: the linear motion against oracles, and a generator that learns the right way round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from drawn import DISPLACEMENT, average_face
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE, LANDMARK_MIRROR, MIRROR
from mien.lab.blocks import overall, softened, warp
from mien.lab.change import SHADE, STILL, Generator, added
from mien.lab.data import FaceTable, weighted
from mien.lab.faces import Faces
from mien.lab.geometry import LEFT_EYE, LIPS, RARE, RIGHT_EYE, coarse_flow, fit_displacement, gaps, local
from mien.lab.method import Optimizer, Terms, Turn
from mien.lab.methods.flowfill import FlowFill, FlowFillConfig, middle, named
from mien.target import by_name

JAW = BLENDSHAPES.index("jawOpen")
NEUTRAL, HAPPY, SURPRISED = (EXPRESSIONS.index(name) for name in ("neutral", "happiness", "surprise"))


def symmetric(motion: Tensor) -> Tensor:
    """The mean of a (52, 68, 2) displacement and its mirror image."""
    flipped = motion[list(MIRROR)][:, list(LANDMARK_MIRROR)] * torch.tensor([-1.0, 1.0])
    return (motion + flipped) / 2


def linear_faces(motion: Tensor, count: int) -> Faces:
    """People who differ in size, place and turn of the head, and whose landmarks follow their blendshapes in a line."""
    torch.manual_seed(0)
    shapes = torch.rand(count, 52)
    shapes[:, 0] = 0
    points = torch.tensor(average_face()).float() + torch.einsum("bk,kld->bld", shapes, motion)
    points[:, 27:48] += 0.01 * torch.randn(count, 1, 2)  # eyes and nose: what the pose terms are read from
    points[:, 8] += 0.01 * torch.randn(count, 2)
    return Faces(landmarks=points, blendshapes=shapes)


def known_motion() -> Tensor:
    """Random, symmetric, on brows and mouth (eyes, nose and chin tell the pose)."""
    torch.manual_seed(1)
    motion = torch.zeros(52, 68, 2)
    motion[1:, [*range(17, 27), *range(48, 68)]] = 0.05 * torch.randn(51, 30, 2)
    return symmetric(motion)


def test_fit_recovers_a_known_linear_motion() -> None:
    motion = known_motion()
    sample = linear_faces(motion, 1500)
    torch.testing.assert_close(
        fit_displacement(sample, ridge=1e-6), motion, atol=2e-3, rtol=0
    )  # the points are stored in single precision
    shrunk = fit_displacement(sample)
    slope = (shrunk * motion).sum() / motion.square().sum()
    assert 0.85 < slope < 1, "the default ridge shrinks a little"


def test_fit_treats_both_sides_alike_and_never_moves_neutral() -> None:
    sample = linear_faces(torch.rand(52, 68, 2) * 0.02, 400)
    fitted = fit_displacement(sample)
    torch.testing.assert_close(symmetric(fitted), fitted, atol=1e-5, rtol=0)
    assert not fitted[0].any()


def test_muscles_move_their_own_half_of_the_face() -> None:
    whole = local(torch.ones(52, 68, 2))[:, :, 0]
    assert whole[BLENDSHAPES.index("mouthPucker"), 54] == RARE["mouthPucker"]
    assert whole[BLENDSHAPES.index("browInnerUp"), 20] == RARE["browInnerUp"]
    moved = whole.bool()
    brow, eye, mouth, jaw, nose = 20, 40, 54, 8, 30
    for name, still in (("mouthSmileLeft", [brow, eye]), ("jawOpen", [brow, eye]), ("eyeBlinkLeft", [mouth, jaw])):
        own = moved[BLENDSHAPES.index(name), [brow, eye, mouth, jaw, nose]]
        assert own.tolist() == [point not in still for point in (brow, eye, mouth, jaw, nose)]


def test_one_side_moves_alone_and_both_as_before() -> None:
    torch.manual_seed(0)
    fitted = symmetric(torch.randn(52, 68, 2))
    moved = local(fitted)
    left, right = (BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    torch.testing.assert_close(moved[left, 48:] + moved[right, 48:], fitted[left, 48:] + fitted[right, 48:])
    assert not moved[left, [48, 49, 59, 60]].any(), "the other corner"
    assert not moved[right, [54, 53, 55, 64]].any()
    assert torch.equal(moved[left, 51], moved[right, 51]), "the middle is shared"
    torch.testing.assert_close(symmetric(moved), moved)


@pytest.mark.parametrize(("right", "down"), [(0.15, 0.0), (0.0, -0.2), (-0.1, 0.1)])
def test_a_dot_lands_where_its_landmark_goes(right: float, down: float) -> None:
    side, move = 96, torch.tensor([right, down])
    image = torch.full((1, 1, side, side), 0.0)
    image[..., 46:50, 46:50] = 1  # a dot in the middle, with a landmark on it
    displacement = torch.zeros(52, 68, 2)
    displacement[JAW] = move
    difference = torch.zeros(1, 52)
    difference[0, JAW] = 1
    landmarks = torch.full((1, 68, 2), 0.5)
    moved = warp(image, coarse_flow(landmarks, difference, displacement, side))
    line = (torch.arange(side) + 0.5) / side
    place = torch.stack([(moved[0, 0] * line).sum(), (moved[0, 0] * line[:, None]).sum()]) / moved.sum()
    torch.testing.assert_close(place, 0.5 + move, atol=0.02, rtol=0)
    still = warp(image, coarse_flow(landmarks, -0 * difference, displacement, side))
    torch.testing.assert_close(still, image, atol=2e-5, rtol=0)


def test_far_from_every_landmark_nothing_moves() -> None:
    displacement = torch.full((52, 68, 2), 0.1)
    difference = torch.zeros(1, 52)
    difference[0, JAW] = 1
    flow = coarse_flow(torch.full((1, 68, 2), 0.2), difference, displacement, 64)
    assert flow[..., 40:, 40:].abs().max() < 1e-4
    assert flow[..., 16:20, 16:20].abs().max() > 0.05


def test_the_linear_motion_alone_already_smiles(drawn: Path, tmp_path: Path) -> None:
    """Before any training: a neutral face edited to happiness comes nearer to the same person's happy picture."""
    method = FlowFill(FlowFillConfig(size=64, width=8)).eval()
    method.prepare(faces(drawn, size=64).faces)
    fitted = method.generator.displacement[BLENDSHAPES.index("mouthSmileLeft"), 54]
    assert fitted[0] > 0.01
    assert fitted[1] < -0.02
    torch.testing.assert_close(
        fitted, torch.tensor(DISPLACEMENT[BLENDSHAPES.index("mouthSmileLeft"), 54]).float(), atol=0.035, rtol=0
    )
    neutral, happy = of_label(drawn, NEUTRAL, 64), of_label(drawn, HAPPY, 64)
    flow = coarse_flow(neutral.landmarks, happy.blendshapes - neutral.blendshapes, method.generator.displacement, 64)
    mouth = (..., slice(42, 56), slice(20, 44))
    before, after = ((x[mouth] - happy.image[mouth]).abs().mean() for x in (neutral.image, warp(neutral.image, flow)))
    opposite = (warp(neutral.image, -flow)[mouth] - happy.image[mouth]).abs().mean()
    assert after < 0.8 * before
    assert opposite > before


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_every_size_has_patches_to_score(size: int) -> None:
    """A critic that looks at no patch scores NaN."""
    method = FlowFill(FlowFillConfig(size=size, width=8)).eval()
    with torch.no_grad():
        scores, read = method.critic(torch.rand(2, 3, size, size))
    assert all(score.numel() and score.isfinite().all() for score in scores)
    assert read.shape == (2, 52)


def test_the_middle_leaves_an_eighth_out_at_each_edge() -> None:
    cells = torch.arange(256.0).view(1, 1, 16, 16)
    assert torch.equal(middle(cells), cells[..., 2:14, 2:14])


def test_gaze_stays_as_it_is(drawn: Path) -> None:
    method = tiny("flowfill").eval()
    source = faces(drawn, "val").take(torch.arange(2))
    looking = source.blendshapes.clone()
    looking[:, [BLENDSHAPES.index(name) for name in GAZE]] = 1
    with torch.no_grad():
        result = method.edit(source, source.having(blendshapes=looking), torch.ones(2))
    assert not result.flow.any()
    assert not result.delta.any()


def of_label(drawn: Path, label: int, size: int = 32) -> Faces:
    """Held-out faces of one expression; the same people in the same order for every expression."""
    table = faces(drawn, "val", size)
    return table.take((table.faces.emotion == label).nonzero()[:, 0])


class InTurns(FlowFill):
    """First the critic alone, 200 steps, on closed and wide open mouths; then the generator alone against its reading.

    Apart, because two tiny players at once need longer than a test has. ``changed`` alters the generator's loss terms.
    Answers count where ``answered`` says so: two lessons at once need longer too.
    """

    FIRST = 200
    changed: Callable[[Terms], Terms] = staticmethod(lambda terms: terms)
    answered = False

    def turns(self, step: int) -> list[Turn]:
        return super().turns(step)[:1] if step < self.FIRST else super().turns(step)[-1:]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-3, betas=(0.5, 0.99))

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        terms = super().generator_loss(source, target)
        terms.pop("fool")  # without end against a critic that stands still
        terms = terms if self.answered else {k: v for k, v in terms.items() if k not in ("answer", "match")}
        return self.changed(terms)


def closed_and_open(drawn: Path) -> FaceTable:
    table = faces(drawn)
    rows = ((table.faces.emotion == NEUTRAL) | (table.faces.emotion == SURPRISED)).nonzero()[:, 0]
    return FaceTable(table.faces[rows].only("image", "blendshapes", "landmarks"), [table.names[i] for i in rows], "two")


@dataclass
class Player:
    """A method in training, with the steps it has behind it."""

    method: InTurns
    run: Callable[[int, int], None]


def player(drawn: Path, out: Path, config: FlowFillConfig) -> Player:
    torch.manual_seed(0)
    method = InTurns(config)
    trainer = trainer_of(method, drawn, out, batch=16, steps=1000, balance=(0.0, 0.0))
    trainer.table = closed_and_open(drawn)
    trainer.sample = weighted([torch.ones(len(trainer.table))] * 2, trainer.recipe.batch, trainer.recipe.seed)
    method.generator.displacement.zero_()  # so that what changes is what was learned

    def run(first: int, last: int) -> None:
        for step in range(first, last):
            trainer.step(step)

    return Player(method, run)


@pytest.fixture(scope="module")
def critic(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """A critic that has learned to read blendshapes from real (drawn) faces beside an untrained generator."""
    first = player(drawn, tmp_path_factory.mktemp("critic"), FlowFillConfig(size=32, width=8))
    first.run(0, InTurns.FIRST)
    return {key: value.clone() for key, value in first.method.state_dict().items()}


@torch.no_grad()
def readings(method: FlowFill, drawn: Path) -> dict[str, float]:
    """The mean jawOpen that the critic reads in held-out faces, and in these edited to the other expression."""
    method.eval()
    shut, wide = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    one = torch.ones(len(shut))
    images = {
        "shut": shut.image,
        "wide": wide.image,
        "opened": method.edit(shut, wide, one).image,
        "closed": method.edit(wide, shut, one).image,
    }
    return {name: method.critic(image)[1][:, JAW].mean().item() for name, image in images.items()}


def learned(
    drawn: Path, out: Path, critic: dict[str, Tensor], changed: Callable[[Terms], Terms], steps: int = 240
) -> FlowFill:
    easy = FlowFillConfig(size=32, width=8, expression=8.0, change=0.02, motion=0.05, stray=1.0, named=0.0)
    second = player(drawn, out, easy)
    second.method.load_state_dict(critic)
    second.method.prepare(faces(drawn).faces)  # paint is free only where the linear model says that the mouth opens
    second.method.changed = changed
    second.run(InTurns.FIRST, InTurns.FIRST + steps)
    return second.method


def test_the_critic_learns_to_read_real_faces(drawn: Path, critic: dict[str, Tensor]) -> None:
    method = tiny("flowfill")
    method.load_state_dict(critic)
    read = readings(method, drawn)
    assert read["wide"] - read["shut"] > 0.4


def moves_the_right_way(read: dict[str, float]) -> bool:
    """Edits go more than half of the way from what the source shows to what the target shows."""
    way = read["wide"] - read["shut"]
    return read["opened"] - read["shut"] > way / 2 and read["wide"] - read["closed"] > way / 2


def test_the_generator_learns_to_show_what_is_asked(drawn: Path, tmp_path: Path, critic: dict[str, Tensor]) -> None:
    right = learned(drawn, tmp_path / "right", critic, lambda terms: terms)
    assert moves_the_right_way(readings(right, drawn))
    wrong = learned(drawn, tmp_path / "wrong", critic, lambda terms: terms | {"expression": -terms["expression"]})
    assert not moves_the_right_way(readings(wrong, drawn)), "the check itself: a wrong sign must not pass"


def mean_mask(method: FlowFill, drawn: Path) -> float:
    """Mean opening of the mask over held-out edits."""
    method.eval()
    with torch.no_grad():
        shut, wide = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
        return method._change(shut, wide, torch.ones(len(shut)))[1].mask.mean().item()


def test_each_penalty_lowers_what_it_weighs(drawn: Path, tmp_path: Path) -> None:
    """mask, motion and smooth one by one, as the only term of the loss."""

    def only(name: str, sign: float = 1.0) -> FlowFill:
        config = FlowFillConfig(size=32, width=8, **{name: 5.0})
        trained = player(drawn, tmp_path / f"{name}{sign}", config)
        trained.method.changed = lambda terms: {name: sign * terms[name]}
        trained.run(InTurns.FIRST, InTurns.FIRST + 12)
        return trained.method

    start = player(drawn, tmp_path / "start", FlowFillConfig(size=32, width=8)).method
    assert mean_mask(only("mask"), drawn) < 0.8 * mean_mask(start, drawn)
    assert mean_mask(only("mask", sign=-1), drawn) > 1.2 * mean_mask(start, drawn), "the check itself"
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    for name in ("motion", "smooth"):
        losses = []
        for method in (start, only(name)):
            torch.manual_seed(0)
            with torch.no_grad():
                losses.append(
                    FlowFill.generator_loss(method, source, target)[name].item() / getattr(method.config, name)
                )
        assert losses[1] < 0.8 * losses[0], name


def test_the_generator_is_paid_for_fooling_the_critic(drawn: Path) -> None:
    """fool falls as scores rise, in step with the hinge that lowers them: the two pull against each other."""
    method = tiny("flowfill").eval()
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    results = {}
    for shift in (0.0, 0.5):
        own = method.critic
        method._modules["critic"] = Shifted(own, shift)
        torch.manual_seed(0)
        fool = method.generator_loss(source, target)["fool"].item()
        torch.manual_seed(0)
        results[shift] = fool, method.critic_loss(source, target)["hinge"].item()
        method._modules["critic"] = own
    assert results[0.5][0] == pytest.approx(results[0.0][0] - method.config.fool * 3 * 0.5, abs=1e-4), (
        "higher scores, lower loss"
    )


class Shifted(torch.nn.Module):
    """A critic whose every score is ``shift`` higher."""

    def __init__(self, critic: torch.nn.Module, shift: float) -> None:
        super().__init__()
        self.critic, self.shift = critic, shift

    def layers(self, image: Tensor) -> list[Tensor]:
        return self.critic.layers(image)

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        scores, read = self.critic(image)
        return [score + self.shift for score in scores], read


def test_half_of_a_lesson_has_an_answer(drawn: Path) -> None:
    """The wider mouth is the answer where one is opened, its own picture the question where one is closed."""
    shut, wide = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    method = FlowFill(FlowFillConfig(size=32, width=8, opening=1.0, named=0.0)).eval()
    known = len(shut) // 2
    with torch.no_grad():
        for source, target in ((shut, wide), (wide, shut)):
            torch.manual_seed(0)
            lesson = method.lesson(source, target)
            torch.testing.assert_close(lesson.truth, wide.image[:known])
            assert torch.equal(lesson.target.blendshapes[:known], wide.blendshapes[:known])
            assert torch.equal(lesson.source.blendshapes[:known], shut.blendshapes[:known])
            assert torch.equal(lesson.source.image[known:], source.image[known:])
            assert torch.equal(lesson.target.blendshapes[known:], target.blendshapes[known:])
            assert (lesson.intensity[:known] == 1).all()
            assert (lesson.asked == -1).all()
        method = FlowFill(FlowFillConfig(size=32, width=8, opening=0.0)).eval()
        closing = method.lesson(shut, wide)
        assert torch.equal(closing.source.image[:known], wide.image[:known])
        assert gaps(closing.target.landmarks[:known]).max() < gaps(wide.landmarks[:known]).min()


def test_the_answer_pulls_the_edit_towards_it(drawn: Path, tmp_path: Path) -> None:
    """The answer as the only term: held-out mouths are closed better, and worse with the sign turned."""
    source, target = of_label(drawn, SURPRISED), of_label(drawn, NEUTRAL)

    def error(method: FlowFill) -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            return FlowFill.generator_loss(method.eval(), source, target)["answer"].item()

    config = FlowFillConfig(size=32, width=8, opening=0.0)
    before = error(player(drawn, tmp_path / "start", config).method)
    for sign in (1, -1):
        trained = player(drawn, tmp_path / f"{sign}", config)
        trained.method.answered = True
        trained.method.changed = lambda terms, sign=sign: {"answer": sign * terms["answer"]}
        trained.run(InTurns.FIRST, InTurns.FIRST + 40)
        assert (error(trained.method) < 0.9 * before) == (sign == 1)


def test_named_expressions_are_asked_as_the_editor_asks(drawn: Path) -> None:
    start = of_label(drawn, SURPRISED).blendshapes[:2].repeat(4, 1)[:7]
    goals = named(torch.arange(7), start)
    for goal, own, name in zip(goals, start, EXPRESSIONS, strict=True):
        wanted = torch.from_numpy(by_name(name).goal(own.numpy()))
        gaze = torch.tensor([blendshape in GAZE for blendshape in BLENDSHAPES])
        torch.testing.assert_close(goal[~gaze], wanted[~gaze])


def test_a_lesson_asks_by_name(drawn: Path) -> None:
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    known = len(source) // 2
    torch.manual_seed(0)
    method = FlowFill(FlowFillConfig(size=32, width=8, named=1.0, partial=0.5)).eval()
    lesson = method.lesson(source, target)
    part = lesson.intensity < 1
    assert part[known:].any()
    assert (lesson.asked[:known] == -1).all()
    assert torch.equal(lesson.asked[known:] == -1, part[known:]), "half a smile is not asked to be called happy"
    full = lesson.asked >= 0
    torch.testing.assert_close(lesson.target.blendshapes[full], named(lesson.asked[full], source.blendshapes[full]))


def test_emotion_is_a_term_only_where_asked_for(drawn: Path) -> None:
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    assert "emotion" not in tiny("flowfill").generator_loss(source, target)
    torch.manual_seed(0)
    method = FlowFill(FlowFillConfig(size=32, width=8, emotion=2.0, named=1.0, partial=0.0)).eval()
    assert set(method.readers) == {"emotion"}
    torch.manual_seed(0)
    before = method.generator_loss(source, target)["emotion"].item()
    torch.manual_seed(0)
    asked = method.lesson(source, target).asked.clamp(min=0)
    method.emotion.forward = lambda image: torch.nn.functional.one_hot(asked[-len(image) :], 7)
    torch.manual_seed(0)
    assert method.generator_loss(source, target)["emotion"].item() < 0.01 < before, "the asked one, seen, costs nothing"


def test_every_turn_runs_in_bfloat16(drawn: Path) -> None:
    method = tiny("flowfill")
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    for turn in method.turns(0):
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(turn.loss(source, target).values())
        loss.backward()
        assert loss.isfinite()


def test_softening_spreads_a_dot_and_keeps_what_is_even() -> None:
    taps = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    dot = torch.zeros(1, 2, 9, 9)
    dot[0, 1, 4, 4] = 1
    torch.testing.assert_close(softened(dot)[0, 1, 2:7, 2:7], taps[:, None] * taps)
    assert not softened(dot)[0, 0].any()
    torch.testing.assert_close(softened(torch.full((1, 3, 8, 6), 0.7)), torch.full((1, 3, 8, 6), 0.7))


def changed_by(generator: Generator, image: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    difference = torch.zeros(len(image), 52)
    difference[:, JAW] = 0.6
    change = generator(image, landmarks, difference, difference)
    return change.flow, change.delta


@torch.no_grad()
def test_away_from_lips_and_eyes_only_light_is_added(drawn: Path) -> None:
    """The same share of every colour, and no more than SHADE."""
    torch.manual_seed(0)
    generator = Generator(8)
    generator.leave.weight.mul_(100)
    face = of_label(drawn, NEUTRAL)
    _, delta = changed_by(generator, face.image, face.landmarks)
    seen = 1 + softened(face.image)
    low, eye = (..., slice(30, 32), slice(None)), (face.landmarks[0, LEFT_EYE].mean(0) * 32).long().tolist()
    torch.testing.assert_close((delta * seen.roll(1, 1))[low], (delta.roll(1, 1) * seen)[low], atol=1e-5, rtol=0)
    assert delta[low].abs().max() > 0.01
    assert (delta[low].abs() <= SHADE * seen[low] + 1e-5).all()
    there = (0, slice(None), eye[1], eye[0])
    assert (delta * seen.roll(1, 1) - delta.roll(1, 1) * seen)[there].abs().max() > 0.01, "eyes have their own colour"


def test_eyes_get_paint_and_skin_and_lips_light(drawn: Path) -> None:
    face = of_label(drawn, SURPRISED, 64)[:1]
    paint = torch.tensor([0.4, 0.2, 0.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    change = added(paint, face.image, face.landmarks, face.landmarks)
    for part, painted in ((LEFT_EYE, True), (RIGHT_EYE, True), (LIPS, False)):
        x, y = (face.landmarks[0, part].mean(0) * 64).long().tolist()
        if painted:
            torch.testing.assert_close(change[0, :, y, x], paint[0, :, y, x], atol=0.03, rtol=0)
        else:
            torch.testing.assert_close(change[0, :, y, x], SHADE * (1 + face.image[0, :, y, x]), atol=2e-3, rtol=0)


@torch.no_grad()
def test_a_mouth_that_opens_is_filled_and_one_that_closes_is_not(drawn: Path) -> None:
    """With a filler that knows one colour: it shows between the lips, nowhere else, and not where they were apart."""
    method = FlowFill(FlowFillConfig(size=64, width=8)).eval()
    method.prepare(faces(drawn, size=64).faces)
    for network in (method.generator.leave, method.filler.leave):
        torch.nn.init.zeros_(network.weight)
        torch.nn.init.zeros_(network.bias)
    method.filler.leave.bias.copy_(torch.atanh(torch.tensor([-0.9, 0.9, -0.9])).repeat_interleave(4))
    shut, wide = of_label(drawn, NEUTRAL, 64), of_label(drawn, SURPRISED, 64)

    def green(source: Faces, target: Faces) -> Tensor:
        image = method.edit(source, target, torch.ones(len(source))).image
        return ((image - source.image).abs().amax(1) > 0.5).float() * (image[:, 1] - image[:, ::2].amax(1) > 1)

    opened = green(shut, wide)
    assert (opened.sum((1, 2)) > 15).all()
    lower = (opened * torch.arange(64)[:, None]).sum((1, 2)) / opened.sum((1, 2)) / 64
    torch.testing.assert_close(lower, wide.landmarks[:, LIPS[12:], 1].mean(1), atol=0.06, rtol=0)
    for source, target in ((wide, shut), (wide, wide), (shut, shut)):
        assert not green(source, target).any()


@torch.no_grad()
def test_lips_that_close_are_brought_nearer_and_others_left(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = FlowFill(FlowFillConfig(size=64, width=8)).eval()
    method.prepare(faces(drawn, size=64).faces)
    shut, wide = of_label(drawn, NEUTRAL, 64), of_label(drawn, SURPRISED, 64)

    def flow(source: Faces, target: Faces, meet: float) -> Tensor:
        monkeypatch.setattr("mien.lab.change.MEET", meet)
        return method.edit(source, target, torch.ones(len(source))).flow

    nearer = flow(wide, shut, 0.6) - flow(wide, shut, 0.0)
    corner = (wide.landmarks[0, 48] * 64).long().tolist()
    assert nearer[0, 1].max() > 0.01, "the lower lip up"
    assert nearer[0, 1].min() < -0.005, "the upper lip down"
    assert nearer[0, 0].abs().max() < 0.02
    assert nearer[0, :, : corner[1] - 14].abs().max() < 1e-3, "eyes and brows"
    assert torch.equal(flow(shut, wide, 0.6), flow(shut, wide, 0.0))


def test_what_pulls_lips_apart_is_taken_out_and_what_pulls_both_stays() -> None:
    apart = torch.zeros(1, 2, 64, 64)
    apart[:, 1, :40], apart[:, 1, 40:] = -0.02, 0.02
    assert overall(apart)[:, 1, 40].abs().max() < 0.003
    torch.testing.assert_close(overall(torch.full_like(apart, 0.02)), torch.full_like(apart, 0.02))


@torch.no_grad()
def test_what_hardly_moves_stays_to_the_bit(drawn: Path) -> None:
    torch.manual_seed(0)
    face, generator = of_label(drawn, NEUTRAL), Generator(8)
    generator.leave.weight.zero_()
    generator.leave.bias.zero_()
    for size, moves in ((0.5, False), (2.0, True)):
        generator.leave.bias[:4] = float(torch.atanh(torch.tensor(size * STILL / 0.06)))  # dx of each of four pixels
        flow, _ = changed_by(generator, face.image, face.landmarks)
        assert bool(flow.any()) == moves
    torch.testing.assert_close(flow[:, 0], torch.full_like(flow[:, 0], STILL), atol=2e-4, rtol=0)


def test_identity_is_a_term_only_where_asked_for(drawn: Path) -> None:
    source, target = of_label(drawn, NEUTRAL), of_label(drawn, SURPRISED)
    assert "identity" not in tiny("flowfill").generator_loss(source, target)
    torch.manual_seed(0)
    method = FlowFill(FlowFillConfig(size=32, width=8, identity=2.0, named=0.0)).eval()
    assert set(method.readers) == {"identity"}
    assert 0 < method.generator_loss(source, target)["identity"].item() < 4
    assert method.generator_loss(source, source)["identity"].item() == pytest.approx(0, abs=1e-5)
