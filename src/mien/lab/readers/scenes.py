"""Photographs with labelled faces -> scenes to learn finding from: mosaics at every scale, roll, light and quality.

A photograph of the training collections holds one face of one size in its middle. A scene takes a grid of them apart:
each cell shows one picture through its own similarity (zoom, roll, shift), faceless corners and textures among them,
and then the whole scene is relit, blurred, made noisy and compressed, as photographs are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mien.errors import MienError
from mien.lab.data import SPLITS
from mien.lab.faces import Faces

SIDE = 128
"""Every picture is kept at this side, in pixels."""
MOST = 4
"""Faces kept of one picture."""
GRID = 3
"""A scene has up to GRID x GRID cells."""
TEXTURES = 10
"""Faceless pictures made anew for every batch of scenes: textures and jigsaws of what was drawn."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split, decoded once; what ``Trainer`` asks of a table.

    faces.image: uint8 (N, 3, 128, 128). faces.landmarks: (N, 68, 4, 2) in fractions, NaN where a picture has fewer than
    four faces; the axis of the 68 comes before that of the faces, so that ``Faces.flipped`` mirrors them all.
    """

    faces: Faces
    names: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Faces:
        """The pictures at ``index``, as floats in [-1, 1], on ``device``."""
        faces = self.faces[index].to(device)
        return faces.having(image=faces.image.float() / 127.5 - 1)

    def weights(self, balance: float) -> Tensor:
        """(N,) ones: pictures are drawn as they come."""
        return torch.ones(len(self))


def load_pictures(paths: Sequence[Path], split: str, limit: int | None = None) -> Pictures:
    """Read one split of manifests whose ``landmarks`` hold 68 x 2 fractions for each face of a picture.

    limit: pictures of each manifest. Raises MienError for a missing file, column or split, before any work.
    """
    if split not in SPLITS:
        raise MienError(f"{split!r} is no split: choose one of {', '.join(SPLITS)}")
    images: list[np.ndarray] = []
    landmarks: list[np.ndarray] = []
    names: list[str] = []
    for path in paths:
        try:
            table = pq.read_table(path, columns=["name", "split", "image", "landmarks"])
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise MienError(f"{path}: no manifest with name, split, image and landmarks ({reason})") from error
        table = table.filter(pa.compute.equal(table["split"], split)).slice(0, limit)
        with ThreadPoolExecutor() as pool:
            images += pool.map(_decode, table["image"].to_pylist())
        landmarks += [_padded(value.values.to_numpy(zero_copy_only=False)) for value in table["landmarks"]]
        names += table["name"].to_pylist()
    if not names:
        raise MienError(f"{', '.join(map(str, paths))}: no picture in split {split!r}")
    digest = hashlib.sha256(json.dumps([split, names]).encode()).hexdigest()[:16]
    points = torch.from_numpy(np.stack(landmarks)).transpose(1, 2).contiguous()
    return Pictures(Faces(image=torch.from_numpy(np.stack(images)), landmarks=points), names, digest)


def _decode(blob: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(blob), formats=["WEBP", "PNG", "JPEG"]).convert("RGB")
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _padded(flat: np.ndarray) -> np.ndarray:
    faces = flat.astype(np.float32).reshape(-1, 68, 2)[:MOST]
    return np.concatenate([faces, np.full((MOST - len(faces), 68, 2), np.nan, np.float32)])


@dataclass(frozen=True)
class Scenes:
    """B scenes for the finder.

    image: (B, 3, S, S) in [-1, 1]. landmarks: (B, M, 68, 2) in pixels of the scene, NaN where there is no face.
    visible: (B, M), the share of a face's landmarks that the scene shows; 0 where there is no face.
    """

    image: Tensor
    landmarks: Tensor
    visible: Tensor


@torch.no_grad()
def compose(pictures: Faces, count: int, side: int) -> Scenes:
    """``count`` scenes of ``side`` pixels from ``pictures`` (image (P, 3, 128, 128), landmarks (P, 68, 4, 2)).

    Draws from torch's global generator alone, so that a seed repeats the scenes.
    """
    some = torch.randint(0, len(pictures), (TEXTURES // 2,), device=pictures.image.device)
    mixed = faceless_pictures(pictures.image[some].float())
    stack = torch.cat([pictures.image.float(), textures(TEXTURES - len(some), pictures.image.device), mixed])
    cells = _cells(pictures, count, side)
    image = degraded(_render(stack, cells, side))
    landmarks, visible = _labels(pictures, cells, side)
    return Scenes(image, landmarks, visible)


@dataclass(frozen=True)
class _Cells:
    """K = GRID^2 cells for each of B scenes; those beyond the scene's own grid are empty.

    edges: (B, GRID + 1, 2), where the cells of a scene meet, as x, y in pixels. grid: (B,) cells a row.
    picture, filler: (B, K) numbers in the stack of pictures and textures; the filler shows where the picture ends.
    turn: (B, K, 2, 2) rotation times zoom from picture pixels to scene pixels.
    pivot, centre: (B, K, 2): the point of the picture, in its pixels, that lands on this point of the scene.
    """

    edges: Tensor
    grid: Tensor
    picture: Tensor
    filler: Tensor
    turn: Tensor
    pivot: Tensor
    centre: Tensor


def _cells(pictures: Faces, count: int, side: int) -> _Cells:
    points = pictures.landmarks * SIDE
    device, k = points.device, GRID**2
    grid = torch.tensor([1, 2, 2, 3], device=device)[torch.randint(0, 4, (count,), device=device)]
    edges = _edges(grid, side)
    column, row = torch.arange(k, device=device) % grid[:, None], torch.arange(k, device=device) // grid[:, None]
    row = row.clamp(max=GRID - 1)
    low = torch.stack([edges[..., 0].gather(1, column), edges[..., 1].gather(1, row)], -1)
    high = torch.stack([edges[..., 0].gather(1, column + 1), edges[..., 1].gather(1, row + 1)], -1)
    width = (high - low).amin(-1).clamp(min=8)

    picture = torch.randint(0, len(points), (count, k), device=device)
    shapes = points[picture]  # (B, K, 68, MOST, 2)
    face = _pick(~shapes[:, :, 0, :, 0].isnan())
    shape = shapes.gather(3, face[..., None, None, None].expand(-1, -1, 68, 1, 2))[:, :, :, 0]
    pivot = (shape.amax(2) + shape.amin(2)) / 2
    size = (shape.amax(2) - shape.amin(2)).amax(-1)

    # Most cells show a whole face between 16 pixels and the cell; some zoom so far in that only part of a face shows.
    wanted = 16 * (1.0 * width / 16) ** torch.rand(count, k, device=device)
    wanted = torch.where(torch.rand(count, k, device=device) < 0.06, width * (1.6 + torch.rand_like(wanted)), wanted)
    zoom = wanted / size
    free = ((width - 0.9 * wanted) / 2).clamp(min=0.05 * width)
    centre = (low + high) / 2 + (torch.rand(count, k, 2, device=device) * 2 - 1) * free[..., None]

    corner, hole = _corners(shapes, width)
    clutter = hole & (torch.rand(count, k, device=device) < 0.25)
    pivot = torch.where(clutter[..., None], corner, pivot)
    zoom = torch.where(clutter, width / (20 + 14 * torch.rand_like(width)), zoom)
    centre = torch.where(clutter[..., None], (low + high) / 2, centre)
    filler = len(points) + torch.randint(0, TEXTURES, (count, k), device=device)
    picture = torch.where(torch.rand(count, k, device=device) < 0.15, filler, picture)
    # Half of the pictures run out into their own edge pixels, half into a texture.
    filler = torch.where(torch.rand(count, k, device=device) < 0.5, filler, picture)
    return _Cells(edges, grid, picture, filler, _turns(zoom), pivot, centre)


def _edges(grid: Tensor, side: int) -> Tensor:
    """Cell borders (B, GRID + 1, 2), shifted by up to a fifth of a cell; those beyond a scene's grid lie at its end."""
    step = torch.arange(GRID + 1, device=grid.device)[None, :, None]
    shift = (torch.rand(len(grid), GRID + 1, 2, device=grid.device) - 0.5) * 0.4
    inner = (step > 0) & (step < grid[:, None, None])
    return ((step + shift * inner) / grid[:, None, None]).clamp(max=1) * side


def _pick(present: Tensor) -> Tensor:
    """One index where ``present`` (..., F) is true, each equally likely."""
    return (torch.rand(present.shape, device=present.device) * present + present).argmax(-1)


def _turns(zoom: Tensor) -> Tensor:
    """Rolls: three in five nearly upright, the rest anything up to 50 degrees."""
    slight = torch.randn_like(zoom) * 8
    wide = (torch.rand_like(zoom) * 2 - 1) * 50
    angle = torch.deg2rad(torch.where(torch.rand_like(zoom) < 0.6, slight, wide))
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _corners(shapes: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """A corner of each picture, and whether no labelled face comes near it: there faceless background is cut out."""
    reach = 22.0
    signs = torch.randint(0, 2, (*width.shape, 2), device=width.device)
    corner = torch.where(signs > 0, SIDE - reach, reach)
    apart = (shapes - corner[:, :, None, None]).abs().amax(-1).nan_to_num(SIDE).amin((2, 3))
    return corner, apart > 1.3 * reach


def _render(stack: Tensor, cells: _Cells, side: int) -> Tensor:
    """Fetch every pixel of the scenes by one bilinear look-up in a tall atlas of all pictures at three sharpnesses."""
    half = F.interpolate(F.avg_pool2d(stack, 2), size=SIDE, mode="bilinear")
    quarter = F.interpolate(F.avg_pool2d(stack, 4), size=SIDE, mode="bilinear")
    atlas = torch.cat([stack, half, quarter]).transpose(0, 1).flatten(1, 2)[None]  # (1, 3, 3 * P * SIDE, SIDE)
    count = len(cells.grid)
    line = torch.arange(side, device=stack.device) + 0.5
    place = [(line[None, :, None] >= cells.edges[:, None, 1:-1, axis]).sum(-1) for axis in range(2)]
    owner = (place[1][:, :, None] * cells.grid[:, None, None] + place[0][:, None, :]).flatten(1)  # (B, S * S)

    zoom = cells.turn.det().sqrt()
    sharp = (zoom < 0.7).long() + (zoom < 0.35).long()
    shown, filler = (number + sharp * len(stack) for number in (cells.picture, cells.filler))
    inverse = torch.linalg.inv(cells.turn)
    offset = cells.pivot - (inverse @ cells.centre[..., None])[..., 0]
    pages = torch.stack([shown, filler], -1).to(offset)
    rows = torch.cat([inverse.flatten(2), offset, pages], -1).transpose(1, 2)  # (B, 8, K)
    a, b, c, d, e, f, shown, filler = rows.gather(2, owner[:, None].expand(-1, 8, -1)).unbind(1)
    x, y = line.repeat(side), line.repeat_interleave(side)
    u, v = a * x + b * y + e, c * x + d * y + f
    inside = (u > 0) & (u < SIDE) & (v > 0) & (v < SIDE)
    page = torch.where(inside, shown, filler)
    # A texture that fills in repeats mirrored; the picture's own edge pixels are repeated by the clamp.
    mirrored = ~inside & (shown != filler)
    u, v = (torch.where(mirrored, SIDE - (SIDE - w % (2 * SIDE)).abs(), w).clamp(0.5, SIDE - 0.5) for w in (u, v))
    where = torch.stack([u / SIDE, (page * SIDE + v) / (3 * len(stack) * SIDE)], -1) * 2 - 1
    pixels = F.grid_sample(atlas, where.view(1, count * side, side, 2), align_corners=False, padding_mode="border")
    return pixels[0].view(3, count, side, side).transpose(0, 1)


def _labels(pictures: Faces, cells: _Cells, side: int) -> tuple[Tensor, Tensor]:
    """Where the cells' transforms put the landmarks, (B, K * MOST, 68, 2), and the share of each face that shows."""
    k = cells.picture.shape[1]
    own = cells.picture.clamp(max=len(pictures) - 1)
    there = (cells.picture < len(pictures)) & (torch.arange(k, device=own.device) < cells.grid[:, None] ** 2)
    points = (pictures.landmarks[own] * SIDE).transpose(2, 3)
    moved = torch.einsum("bkij,bkfpj->bkfpi", cells.turn, points - cells.pivot[:, :, None, None])
    moved = moved + cells.centre[:, :, None, None]
    number = torch.arange(k, device=own.device)
    column, row = number % cells.grid[:, None], (number // cells.grid[:, None]).clamp(max=GRID - 1)
    place = torch.stack([column, row], -1)
    low, high = cells.edges.gather(1, place)[:, :, None, None], cells.edges.gather(1, place + 1)[:, :, None, None]
    shows = ((moved >= low) & (moved < high)).all(-1).float().mean(-1) * there[..., None]
    moved = torch.where(there[..., None, None, None], moved, torch.nan)
    return moved.flatten(1, 2), shows.flatten(1, 2)


def textures(count: int, device: torch.device | str = "cpu") -> Tensor:
    """(count, 3, 128, 128) pictures in [-1, 1] of clouds, stripes, noise and shapes, each in its own mixture."""
    out = torch.zeros(count, 3, SIDE, SIDE, device=device)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        cloud = torch.randn(count, 3, cells, cells, device=device)
        gray = torch.randn(count, 1, cells, cells, device=device)
        part = F.interpolate(gray + 0.4 * cloud, size=SIDE, mode="bilinear")
        out = out + part * torch.randn(count, 1, 1, 1, device=device) ** 3 * 0.4
    line = torch.linspace(-1, 1, SIDE, device=device)
    wave = torch.randn(count, 2, 1, 1, device=device) * 20
    stripes = torch.sin(wave[:, :1] * line + wave[:, 1:] * line[:, None])
    hard = torch.rand(count, 1, 1, 1, device=device) < 0.5
    stripes = torch.where(hard, stripes.sign(), stripes) * torch.rand(count, 3, 1, 1, device=device)
    out = out + stripes * (torch.rand(count, 1, 1, 1, device=device) < 0.4)
    strength = torch.rand(count, 1, 1, 1, device=device)
    level = 0.5 * torch.randn(count, 1, 1, 1, device=device) + 0.2 * torch.randn(count, 3, 1, 1, device=device)
    out = strength * out + level
    return torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.6, _with_shapes(out), out).clamp(-1, 1)


def _with_shapes(image: Tensor, shapes: int = 14) -> Tensor:
    """Discs, rings and bars of any size strewn over (P, 3, S, S): wheels, coins, knots and letters in the abstract."""
    count, device = len(image), image.device
    line = torch.linspace(0, 1, image.shape[-1], device=device)

    def draw(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, device=device)

    for _ in range(shapes):
        x, y, angle = line - draw(), line[:, None] - draw(), draw(0, torch.pi)
        u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        size = 0.02 * 15 ** draw()
        u, v = u / size, v / (size * draw(0.3, 1.0))
        away = torch.where(draw() < 0.6, (u**2 + v**2).sqrt(), torch.maximum(u.abs(), v.abs()))
        hollow = draw(0.5, 0.9) * (draw() < 0.4)
        colour = 0.7 * torch.randn(count, 1, 1, 1, device=device) + 0.3 * torch.randn(count, 3, 1, 1, device=device)
        image = torch.where(((away < 1) & (away >= hollow))[:, None], colour, image)
    return image


def faceless_pictures(image: Tensor) -> Tensor:
    """(P, 3, 128, 128) -> as many without a whole face: seven in ten a jigsaw of the picture's blocks, else a texture.

    A jigsaw has eyes, mouths and skin, but never in the order that makes a face.
    """
    count, blocks = len(image), 16
    cells = image.reshape(count, 3, 4, SIDE // 4, 4, SIDE // 4).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.rand(count, blocks, device=image.device).argsort(1)
    cells = cells[torch.arange(count, device=image.device)[:, None], order]
    mixed = cells.view(count, 4, 4, 3, SIDE // 4, SIDE // 4).permute(0, 3, 1, 4, 2, 5).reshape(image.shape)
    return _now_and_then(mixed, 0.3, lambda some: textures(len(some), some.device).to(some.dtype))


def degraded(image: Tensor) -> Tensor:
    """What cameras and web sites do to (B, 3, S, S): light, colour, softness, noise, compression, each now and then."""
    count, device = len(image), image.device

    gray = (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    colour = (1 + 0.3 * torch.randn(count, 1, 1, 1, device=device)) * (torch.rand(count, 1, 1, 1, device=device) > 0.15)
    image = gray + (image - gray) * colour
    contrast = torch.exp(0.3 * torch.randn(count, 1, 1, 1, device=device))
    image = image * contrast + 0.2 * torch.randn(count, 1, 1, 1, device=device)
    image = image + 0.06 * torch.randn(count, 3, 1, 1, device=device)
    gamma = torch.exp(0.3 * torch.randn(count, 1, 1, 1, device=device))
    image = ((image.clamp(-1, 1) + 1) / 2 + 1e-4) ** gamma * 2 - 1
    image = _now_and_then(image, 0.3, _softened)
    image = _now_and_then(image, 0.4, _noisy)
    return _now_and_then(image, 0.4, compressed).clamp(-1, 1)


def _now_and_then(image: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """``change`` a random ``share`` of the pictures and leave the others."""
    picks = (torch.rand(len(image), device=image.device) < share).nonzero()[:, 0]
    return image.index_copy(0, picks, change(image[picks])) if len(picks) else image


def _noisy(image: Tensor) -> Tensor:
    return image + 0.08 * torch.rand(len(image), 1, 1, 1, device=image.device) * torch.randn_like(image)


def _softened(image: Tensor) -> Tensor:
    """Shrunk by one factor between 1 and 3 for all, and enlarged again."""
    side = image.shape[-1]
    small = int(side / (1 + 2 * torch.rand(()).item()))
    return F.interpolate(F.interpolate(image, size=small, mode="area"), size=side, mode="bilinear")


def compressed(image: Tensor) -> Tensor:
    """JPEG's loss (ITU T.81) without its coding: 8 x 8 cosine coefficients rounded, coarser for high frequencies.

    image: (B, 3, S, S), S a multiple of 8; one quality for each picture, from good to poor.
    """
    n = torch.arange(8, device=image.device, dtype=image.dtype)
    basis = torch.cos((2 * n[None] + 1) * n[:, None] * torch.pi / 16) * 0.5
    basis[0] /= 2**0.5
    step = (1 + n[:, None] + n[None]) * 2 / 127.5
    quality = torch.exp(2.5 * torch.rand(len(image), 1, 1, 1, 1, 1, device=image.device))
    b, c, height, width = image.shape
    blocks = image.reshape(b, c, height // 8, 8, width // 8, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T
    rounded = (spectrum / (step * quality)).round() * (step * quality)
    return (basis.T @ rounded @ basis).transpose(3, 4).reshape(b, c, height, width)
