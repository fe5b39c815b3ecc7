"""What lies behind the lips: where they part a moved face has a hole, and a network fills it.

Every real open mouth is an answer to that: teeth and all, in the light of that face. A network that paints teeth into
mouths that were closed for the purpose learns to tell how they were closed, and paints none into one that is really
shut; here both are the same hole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import BLENDSHAPES
from mien.lab.blocks import Modulated, softened
from mien.lab.faces import Faces
from mien.lab.geometry import LOWER_EDGE, UPPER_EDGE, gaps, inside, reshaped
from mien.lab.losses import hinge_critic, r1_penalty, total
from mien.lab.method import Terms

RIM = 3 / 128
"""Share of the crop around a hole that the filler does not see either: labels do not say exactly where a lip ends, and
teeth that show beside a hole tell what is in it, as they will not where lips part."""
LAZY, R1 = 16, 0.5
"""R1 counts every so many steps, and weighs so much in each of them on average."""
NARROWER = 0.7
"""Share of the real mouths whose lips are first closed some of the way: calm lips show less than those that laugh."""
PARTLY = 0.3
"""Share of the real mouths that learn with a part of what is there still to be seen."""
BRIGHTER = 0.1
"""How much lighter teeth are shown than they are filled in: on dark skin they come out too dim, on light skin as in
real smiles, and this is between."""
GUMS = 2 / 128
"""Share of the crop along the lips that is not lightened: gums, corners, lips."""


class Filler(nn.Module):
    """(image (B, 3, S, S), hole (B, 1, S, S) in [0, 1], blendshapes (B, 52)) -> the image with the hole filled.

    It looks at the lower middle of the crop, S / 2 wide and high, and sees nothing of the image in the hole or near it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w, c = width, 64
        self.embed = nn.Sequential(nn.Linear(len(BLENDSHAPES), c), nn.SiLU())
        self.enter = nn.Conv2d(20, w, 3, padding=1)
        self.block1 = Modulated(w, c)
        self.down1 = nn.Conv2d(w, 2 * w, 4, 2, 1)
        self.block2 = Modulated(2 * w, c)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 4, 2, 1)
        self.deep = Modulated(4 * w, c)
        self.up2 = nn.Conv2d(4 * w, 2 * w, 3, padding=1)
        self.block3 = Modulated(2 * w, c)
        self.up1 = nn.Conv2d(2 * w, w, 3, padding=1)
        self.block4 = Modulated(w, c)
        self.leave = nn.Conv2d(w, 12, 3, padding=1)

    def forward(self, image: Tensor, hole: Tensor, blendshapes: Tensor) -> Tensor:
        condition = self.embed(blendshapes)
        wide = widened(hole, max(1, int(RIM * image.shape[-1])))
        x = F.pixel_unshuffle(window(torch.cat([image * (1 - wide), wide, hole], 1)), 2)
        x1 = self.block1(self.enter(x), condition)
        x2 = self.block2(self.down1(x1), condition)
        x = self.deep(self.down2(x2), condition)
        x = self.block3(self.up2(F.interpolate(x, scale_factor=2.0)) + x2, condition)
        x = self.block4(self.up1(F.interpolate(x, scale_factor=2.0)) + x1, condition)
        colour = torch.tanh(F.pixel_shuffle(self.leave(F.silu(x)), 2).float())
        side = image.shape[-1]
        return torch.lerp(image, F.pad(colour, (side // 4, side // 4, side // 2, 0), mode="replicate"), hole)


class MouthCritic(nn.Module):
    """(image, hole) -> scores of the window's patches, (B, 1, n, n), and what every stage made of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in ((4, w), (w, 2 * w), (2 * w, 4 * w)))
        self.leave = nn.Conv2d(4 * w, 1, 3, padding=1)
        for layer in (*self.stages, self.leave):
            nn.init.kaiming_normal_(layer.weight, 0.2)

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, found = window(torch.cat([image, hole], 1)), list[Tensor]()
        for stage in self.stages:
            x = F.leaky_relu(stage(x), 0.2)
            found.append(x.float())
        return self.leave(x).float(), found


def window(image: Tensor) -> Tensor:
    """The part of a crop (B, C, S, S) in which mouths lie and open, (B, C, S / 2, S / 2)."""
    side = image.shape[-1]
    return image[..., side // 2 :, side // 4 : side // 4 + side // 2]


def widened(hole: Tensor, by: int) -> Tensor:
    """The hole (B, 1, S, S) and ``by`` pixels around it."""
    return F.max_pool2d(hole, 2 * by + 1, 1, by)


def lightened(image: Tensor, hole: Tensor) -> Tensor:
    """The filled image (B, 3, S, S) in [-1, 1], lighter by the share ``BRIGHTER`` deep in its hole (B, 1, S, S)."""
    deep = -widened(-hole, max(1, int(GUMS * image.shape[-1])))
    return (image + BRIGHTER * deep * (1 + image)).clamp(max=1)


def made(landmarks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): the hole that a real face with these ``landmarks`` (B, 68, 2) would have if its lips parted.

    In some a part of what is there stays to be seen, as in an open mouth that opens farther.
    """
    chance = torch.rand(3, len(landmarks), 1, 1, 1, device=landmarks.device)
    shown, height = landmarks.clone(), landmarks[:, LOWER_EDGE, 1] - landmarks[:, UPPER_EDGE, 1]
    shown[:, UPPER_EDGE, 1] += 0.6 * F.relu(chance[0, :, 0, 0] - 0.5) * height
    shown[:, LOWER_EDGE, 1] -= (0.15 + 0.55 * chance[1, :, 0, 0]) * height
    return inside(landmarks, size) * (1 - (chance[2] < PARTLY) * inside(shown, size))


def narrowed(faces: Faces) -> Faces:
    """Real ``faces``, the lips of some nearer than they were, down to a fifth; teeth between them stay as bright."""
    chance = torch.rand(2, len(faces), device=faces.landmarks.device)
    gap = gaps(faces.landmarks) * torch.where(chance[0] < NARROWER, 0.2 + 0.8 * chance[1], 1.0)
    image, landmarks = reshaped(faces.image, faces.landmarks, torch.zeros_like(faces.landmarks), gap)
    some = (chance[0] < NARROWER).view(-1, 1, 1)
    return faces.having(
        image=torch.where(some[..., None], image, faces.image), landmarks=torch.where(some, landmarks, faces.landmarks)
    )


def critic_loss(filler: Filler, critic: MouthCritic, faces: Faces, steep: bool = False) -> Terms:
    """Real mouths against the same faces' filled ones; only patches in which there is a hole count.

    steep: whether R1 (Mescheder et al. 2018), the mean over patches, is asked for; for every ``LAZY``-th step.
    """
    faces, hole, seen, truth = _asked(faces)
    with torch.no_grad():
        fake = filler(seen, hole, faces.blendshapes)
    share = _share(hole)
    real, fooled = (critic(image, hole)[0] for image in (truth, fake))
    counted = [score[share] if share.any() else 0 * score for score in (real, fooled)]
    terms = {"hinge": hinge_critic(*counted)}
    if steep:
        side = real.shape[-1]  # scores see one another's pixels little: the slope of their sum, squared, is theirs
        terms["r1"] = LAZY * R1 * r1_penalty(lambda image: critic(image, hole)[0].sum((1, 2, 3)) / side, truth)
    return terms


def filler_loss(filler: Filler, critic: MouthCritic, faces: Faces) -> Terms:
    """L1 to what was there, alike to the critic's layers, and called real by it."""
    faces, hole, seen, truth = _asked(faces)
    fake = filler(seen, hole, faces.blendshapes)
    score, layers = critic(fake, hole)
    with torch.no_grad():
        _, answers = critic(truth, hole)
    share = _share(hole)
    return {
        "answer": 4 * (hole * (fake - truth).abs()).sum() / (3 * hole.sum() + 1),
        "match": 5 * total([F.l1_loss(ours, theirs) for ours, theirs in zip(layers, answers, strict=True)]),
        "fool": -1.0 * (score * share).sum() / (share.sum() + 1),
    }


def _asked(faces: Faces) -> tuple[Faces, Tensor, Tensor, Tensor]:
    """Real mouths as a question: the faces, their holes, what is seen around these, and the answer."""
    faces = narrowed(faces)
    hole, seen = made(faces.landmarks, faces.image.shape[-1]), softened(faces.image)
    return faces, hole, seen, torch.lerp(seen, faces.image, hole)


def _share(hole: Tensor) -> Tensor:
    """(B, 1, n, n): which of the critic's patches have a hole in them."""
    return F.max_pool2d(window(hole), 8) > 0.5
