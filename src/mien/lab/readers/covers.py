"""Things before a face, drawn onto crops: hands in the face's own skin, microphones, objects, pieces of other pictures.

Everything is drawn for a whole batch at once from distances to simple shapes, in fractions of the crop, and costs a
fraction of a training step. All randomness is torch's own, which the trainer seeds step by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHEEKS = ((0.29, 0.6), (0.71, 0.6), (0.5, 0.52), (0.42, 0.27))
"""Where an aligned crop mostly shows skin: cheeks, nose, forehead."""
PLACES = ((0.5, 0.76), (0.5, 0.92), (0.27, 0.66), (0.73, 0.66), (0.34, 0.42), (0.66, 0.42), (0.5, 0.2))
"""What is covered: mouth, chin, cheeks, eyes, forehead, and (``LIKELY``) how often."""
LIKELY = (0.45, 0.15, 0.1, 0.1, 0.06, 0.06, 0.08)
PALM = (0.3, 0.5)
"""Width of a palm: eyes 63 mm apart make the crop some 200 mm wide."""
KINDS = (0.6, 0.14, 0.14, 0.12)
"""Shares of hands, microphones, boxes and pieces."""


@dataclass(frozen=True)
class Layer:
    """What is laid over B pictures. colour: (B, 3, S, S) in [0, 1]. cover: (B, 1, S, S), how much of it is opaque."""

    colour: Tensor
    cover: Tensor

    def over(self, below: Layer) -> Layer:
        """Both as one."""
        cover = self.cover + below.cover * (1 - self.cover)
        return Layer(torch.lerp(below.colour, self.colour, self.cover), cover)


@torch.no_grad()
def covered(image: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, S, S) in [-1, 1] -> the same with something before each face, and where: (B, 1, S, S) in [0, 1].

    A quarter have two things before them. What is before a face throws a shadow on it.
    """
    with torch.autocast(image.device.type, enabled=False):
        picture = (image.float() + 1) / 2
        cover = torch.zeros_like(picture[:, :1])
        for share in (1.0, 0.25):
            kind = torch.multinomial(torch.tensor(KINDS), len(image), replacement=True).to(image.device)
            kind = torch.where(torch.rand(len(image), device=image.device) < share, kind, -1)
            for number, drawn in enumerate((hands, microphones, boxes, pieces)):
                rows = (kind == number).nonzero()[:, 0]
                if len(rows):
                    layer = drawn(picture, rows)
                    lit = picture[rows] * (1 - shadow(layer.cover))
                    picture[rows] = torch.lerp(lit, layer.colour + _field(len(rows), picture, 0.02), layer.cover)
                    cover[rows] += layer.cover * (1 - cover[rows])
        return picture.clamp(0, 1) * 2 - 1, cover


@torch.no_grad()
def shaded(image: Tensor) -> Tensor:
    """(B, 3, S, S) in [-1, 1] with a shadow on every third face, in shapes that cover others: it covers nothing."""
    count = len(image)
    with torch.autocast(image.device.type, enabled=False):
        picture = (image.float() + 1) / 2
        rows = (torch.rand(count, device=image.device) < 1 / 3).nonzero()[:, 0]
        if len(rows):
            drawn = (hands, boxes, pieces)[int(torch.randint(3, ()))]
            dark = drawn(picture, rows).cover
            dark = F.avg_pool2d(dark, 5, 1, 2) if torch.rand(()) < 0.7 else dark
            picture[rows] = picture[rows] * (1 - dark * _uniform(0.1, 0.6, len(rows), like=image)[:, None, None, None])
        return picture * 2 - 1


def shadow(cover: Tensor) -> Tensor:
    """How much darker it is on the face behind: the cover's shape, moved and blurred, of random depth."""
    reach = max(1, cover.shape[-1] // 16)
    soft = F.avg_pool2d(cover, 2 * reach + 1, 1, reach)
    moved = soft.roll((int(torch.randint(-reach, reach + 1, ())), int(torch.randint(-reach, reach + 1, ()))), (2, 3))
    return moved * (_uniform(-0.3, 0.6, len(cover), like=cover).clamp(min=0) ** 1.5)[:, None, None, None]


def skin(picture: Tensor) -> Tensor:
    """(B, 3): the colour of one of each face's patches of skin; picture: (B, 3, S, S) in [0, 1]."""
    which = torch.randint(len(CHEEKS), (len(picture),))
    place = torch.tensor(CHEEKS, device=picture.device)[which] * 2 - 1
    coarse = F.adaptive_avg_pool2d(picture, 12)
    return F.grid_sample(coarse, place[:, None, None], align_corners=False)[:, :, 0, 0]


def hands(picture: Tensor, rows: Tensor) -> Layer:
    """A hand before each of the faces ``rows``: arm, palm, fingers and thumb, each a shaded capsule before the last.

    Its own coordinates have the palm's width as unit, the palm's middle at 0 and the fingers upwards.
    """
    count, like = len(rows), picture
    grid = _grid(picture)
    level = (1 + _uniform(0.03, 0.2, count, 1, like=like) * _normal(count, 1, like=like)).clamp(0.65, 1.4)
    tone = skin(picture[rows]) * level * (1 + 0.03 * _normal(count, 3, like=like))
    stranger = skin(picture[torch.randint(len(picture), (count,))])
    tone = torch.where(_uniform(0, 1, count, 1, like=like) < 0.12, stranger, tone)
    cloth = torch.where(
        _uniform(0, 1, count, 1, like=like) < 0.5, _uniform(0, 0.9, count, 3, like=like), tone
    )  # a sleeve, or a bare arm
    starts, ends, radii = _skeleton(count, like)
    to_crop, shift = _held(count, like)
    starts, ends = (p @ to_crop.transpose(1, 2) + shift[:, None] for p in (starts, ends))
    radii = radii * to_crop[:, :, 1].norm(dim=1)[:, None]  # of its length, so that foreshortened palms stay thick
    light = F.normalize(_normal(count, 3, like=like) + torch.tensor([0.0, -0.6, 1.2], device=like.device), dim=1)
    relief, edge = 0.03 + 0.4 * _uniform(0, 1, count, like=like) ** 2, _uniform(0, 0.8, count, like=like) ** 3
    soft = _uniform(0.8, 2.0, count, like=like)
    folds = _uniform(0, 0.3, count, like=like)
    layer = Layer(torch.zeros(count, 3, 1, 1, device=like.device), torch.zeros(count, 1, 1, 1, device=like.device))
    for part in range(starts.shape[1]):
        normal, along, inside = _capsule(grid, starts[:, part], ends[:, part], radii[:, part])
        away = normal.norm(dim=-1)
        flat = 0.4 if part < 2 else 1.0
        height = (1 - (flat * away).clamp(max=1) ** 2).sqrt()
        facing = (flat * normal * light[:, None, None, :2]).sum(-1) + height * light[:, None, None, 2]
        shade = 1 + _wide(relief) * (facing.clamp(min=-0.2) - 0.8)
        shade = shade * (1 - _wide(edge) * _smooth((away - 0.7) / 0.3))
        if part > 1:
            crease = torch.exp(-(((along - 0.45) / 0.06) ** 2)) + torch.exp(-(((along - 0.8) / 0.06) ** 2))
            shade = shade * (1 - _wide(folds) * crease)
        base = cloth if part == 0 else tone
        warm = shade.clamp(min=0.05)[:, None] ** torch.tensor([0.85, 1.05, 1.15], device=like.device).view(1, 3, 1, 1)
        cover = (inside * like.shape[-1] / _wide(soft) + 0.5).clamp(0, 1)[:, None]
        layer = Layer(base[:, :, None, None] * warm, cover).over(layer)
    blotch = 1 + _field(count, like, 0.06)
    return Layer((layer.colour * blotch).clamp(0, 1), layer.cover)


def _skeleton(count: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ends (count, 7, 2) and radii (count, 7) of arm, palm, four fingers and thumb; fingers may be curled or folded."""
    u = lambda low, high, *shape: _uniform(low, high, count, *shape, like=like)  # noqa: E731
    base = torch.tensor([-0.33, -0.11, 0.11, 0.33], device=like.device).expand(count, 4)
    length = torch.tensor([0.78, 0.95, 1.0, 0.8], device=like.device) * u(0.55, 1.1, 1) * u(0.9, 1.1, 4)
    curled = u(0, 1, 4) < torch.where(u(0, 1, 1) < 0.4, 0.6, 0.05)
    length = torch.where(curled, u(0.1, 0.35, 4), length)
    length = torch.where(u(0, 1, 1) < 0.25, u(-0.6, -0.35, 1) * u(0.9, 1.1, 4), length)  # a fist, folded over the palm
    angle = base * u(-0.1, 0.9, 1) + u(-0.25, 0.25, 1) + 0.08 * _normal(count, 4, like=like)
    knuckles = torch.stack([base, torch.full_like(base, 0.36) - base.abs() * 0.15], -1)
    tips = knuckles + length[..., None] * torch.stack([angle.sin(), angle.cos()], -1)
    root = torch.stack([u(-0.38, -0.25), u(-0.25, 0.05)], -1)
    turn = -u(-0.3, 1.3)
    thumb = root + u(0.45, 0.85)[:, None] * torch.stack([turn.sin(), turn.cos()], -1)
    bend = u(-0.6, 0.6)
    zero = torch.zeros_like(bend)
    wrist = torch.stack([zero, zero - 0.35], -1)
    elbow = wrist + torch.stack([3 * bend.sin(), -3 * bend.cos()], -1)
    palm = torch.stack([zero, zero - 0.2], -1), torch.stack([zero, zero + 0.1], -1)
    starts = torch.cat([torch.stack([elbow, palm[0]], 1), knuckles, root[:, None]], 1)
    ends = torch.cat([torch.stack([wrist - torch.stack([zero, u(0, 0.9)], -1), palm[1]], 1), tips, thumb[:, None]], 1)
    fingers = u(0.1, 0.135, 1) * u(0.9, 1.1, 4)
    radii = torch.cat([u(0.28, 0.45, 1), u(0.4, 0.46, 1), fingers, u(0.12, 0.16, 1)], 1)
    return starts, ends, radii


def _held(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(count, 2, 2) and (count, 2): from the hand's coordinates to the crop's, so that it touches one of ``PLACES``."""
    heading = 0.95 * _normal(count, like=like)  # 0 points upwards
    width = _uniform(*PALM, count, like=like)
    aside = width * _uniform(0.35, 1.1, count, like=like) * _normal(count, like=like).sign()
    right = torch.stack([heading.cos(), heading.sin()], -1) * aside[:, None]
    up = torch.stack([heading.sin(), -heading.cos()], -1) * width[:, None]
    to_crop = torch.stack([right, up], -1)
    touching = torch.stack([_uniform(-0.3, 0.3, count, like=like), _uniform(-0.2, 1.2, count, like=like)], -1)
    return to_crop, places(count, like) - (to_crop @ touching[..., None])[..., 0]


def microphones(picture: Tensor, rows: Tensor) -> Layer:
    """A dark or coloured head on a stick that comes from below, before chin or mouth; every third has a box on it."""
    count, size, grid = len(rows), picture.shape[-1], _grid(picture)
    u = lambda low, high, *shape: _uniform(low, high, count, *shape, like=picture)  # noqa: E731
    head, lean = torch.stack([u(0.2, 0.8), u(0.7, 1.0)], -1), u(-0.8, 0.8)
    down = torch.stack([lean.sin(), lean.cos()], -1)
    radius = u(0.05, 0.14)
    dark = torch.where(u(0, 1, 1) < 0.75, u(0.02, 0.3, 1).expand(count, 3), u(0, 1, 3))
    layer = Layer(
        torch.zeros(count, 3, 1, 1, device=picture.device), torch.zeros(count, 1, 1, 1, device=picture.device)
    )
    parts = [(head + down * 0.1, head + down, radius * u(0.25, 0.7), dark * u(0.5, 1.3, 1))]
    box = radius * (u(0, 1) < 0.33) * 1.2
    parts.append((head + down * 2.6 * radius[:, None], head + down * 3.2 * radius[:, None], box, u(0, 1, 3)))
    parts.append((head, head + down * (radius * u(0.05, 1))[:, None], radius, dark))
    for start, end, thick, colour in parts:
        normal, _, inside = _capsule(grid, start, end, thick.clamp(min=1e-3))
        lit = 1.15 - 0.5 * normal.square().sum(-1).clamp(max=1) + 0.3 * _wide(u(-1, 1)) * normal[..., 0].clamp(-1, 1)
        lit = lit[:, None] + _field(count, picture, 0.1, size // 2)
        layer = Layer(colour[:, :, None, None] * lit, (inside * size + 0.5).clamp(0, 1)[:, None]).over(layer)
    return Layer(layer.colour.clamp(0, 1), layer.cover)


def boxes(picture: Tensor, rows: Tensor) -> Layer:
    """Phones, cups, paper, sleeves: a rounded box, plain, shaded or with another picture on it."""
    count, size = len(rows), picture.shape[-1]
    u = lambda low, high, *shape: _uniform(low, high, count, *shape, like=picture)  # noqa: E731
    angle = u(-1.6, 1.6)
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()], -1), torch.stack([-angle.sin(), angle.cos()], -1)], 1)
    half, corner = u(0.08, 0.4, 2), u(0, 0.06)
    away = places(count, picture) + half.amax(1)[:, None] * _outward(count, picture) * u(0, 1, 1)
    local = (_grid(picture) - away[:, None, None]) @ turn.transpose(1, 2)[:, None]
    beyond = local.abs() - half[:, None, None] + _wide(corner)[..., None]
    distance = beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0) - _wide(corner)
    plain = u(0, 1, 3)[:, :, None, None] * (1 + _wide(u(-1, 1))[:, None] * local[..., 0][:, None])
    plain = torch.where((u(0, 1) < 0.3)[:, None, None, None], skin(picture[rows])[:, :, None, None] * plain, plain)
    print_ = (u(0, 1) < 0.45)[:, None, None, None] * u(0.3, 1)[:, None, None, None]
    colour = torch.lerp(plain, fragments(picture, count), print_)
    return Layer(colour.clamp(0, 1), (-distance * size / _wide(u(0.8, 2)) + 0.5).clamp(0, 1)[:, None])


def pieces(picture: Tensor, rows: Tensor) -> Layer:
    """Pieces of other pictures in random outlines."""
    count, size = len(rows), picture.shape[-1]
    far = (_grid(picture) - places(count, picture)[:, None, None]).norm(dim=-1)
    reach = _uniform(0.12, 0.4, count, like=picture)
    bulge = _field(count, picture, 0.12, 5)[:, 0]
    cover = ((_wide(reach) - far + bulge) * size / 1.5 + 0.5).clamp(0, 1)
    return Layer(fragments(picture, count), cover[:, None])


def fragments(picture: Tensor, count: int) -> Tensor:
    """(count, 3, S, S): parts of pictures drawn at random, turned by a quarter or more, enlarged and relit."""
    chosen = picture[torch.randint(len(picture), (count,))]
    angle, zoom = _uniform(1.2, 5.1, count, like=picture), _uniform(0.15, 0.8, count, like=picture)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = _uniform(-0.6, 0.6, count, 2, like=picture)
    motion = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(motion, list(chosen.shape), align_corners=False)
    part = F.grid_sample(chosen, grid, padding_mode="reflection", align_corners=False)
    return part * _uniform(0.5, 1.4, count, like=picture)[:, None, None, None]


def places(count: int, like: Tensor) -> Tensor:
    """(count, 2): around one of ``PLACES`` each."""
    which = torch.multinomial(torch.tensor(LIKELY), count, replacement=True)
    return torch.tensor(PLACES, device=like.device)[which] + 0.06 * _normal(count, 2, like=like)


def _outward(count: int, like: Tensor) -> Tensor:
    """(count, 2) unit vectors, downwards more often than up."""
    angle = math.pi / 2 + 1.2 * _normal(count, like=like)
    return torch.stack([angle.cos(), angle.sin()], -1)


def _capsule(grid: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every pixel: its offset from the axis in radii (B, S, S, 2), its share of the way, its depth inside."""
    axis = (end - start)[:, None, None]
    offset = grid - start[:, None, None]
    along = ((offset * axis).sum(-1) / axis.square().sum(-1).clamp(min=1e-8)).clamp(0, 1)
    normal = (offset - along[..., None] * axis) / _wide(radius)[..., None]
    return normal, along, (1 - normal.norm(dim=-1)) * _wide(radius)


def _field(count: int, like: Tensor, strength: float, cells: int = 8) -> Tensor:
    """(count, 1, S, S): smooth noise of ``cells`` bumps across, ``strength`` its standard deviation, roughly."""
    return F.interpolate(strength * _normal(count, 1, cells, cells, like=like), size=like.shape[-1], mode="bicubic")


def _grid(like: Tensor) -> Tensor:
    """(1, S, S, 2) of pixel centres as x, y in fractions."""
    line = (torch.arange(like.shape[-1], device=like.device) + 0.5) / like.shape[-1]
    return torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1)[None]


def _uniform(low: float, high: float, *shape: int, like: Tensor) -> Tensor:
    return low + (high - low) * torch.rand(*shape, device=like.device)


def _normal(*shape: int, like: Tensor) -> Tensor:
    return torch.randn(*shape, device=like.device)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]


def _smooth(t: Tensor) -> Tensor:
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)
