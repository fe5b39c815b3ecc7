"""Expressions as geometry: how far blendshapes move landmarks, and what a face moved so looks like.

The motion is linear and fitted to faces. Spread smoothly it begins a flow; as a thin-plate spline through the
landmarks, torn where the lips meet, it makes another picture. A mouth can be closed this way, never opened: teeth that
go are covered, teeth that come are nowhere. Read backwards, that makes a real open mouth the answer to a question that
can be asked: what did this closed mouth look like open?
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.expressions import BLENDSHAPES, LANDMARK_MIRROR, MIRROR
from mien.lab.blocks import warp
from mien.lab.faces import Faces

RIGHT_EYE, LEFT_EYE, LIPS = list(range(36, 42)), list(range(42, 48)), list(range(48, 68))
SOFT = 0.005
SPREAD = 0.055
INNER_UPPER, INNER_LOWER = [61, 62, 63], [67, 66, 65]  # opposite each other, left to right
UPPER_EDGE, LOWER_EDGE = [60, 61, 62, 63, 64], [60, 67, 66, 65, 64]  # of the mouth between the lips
OUTER_UPPER, OUTER_LOWER = [50, 51, 52], [58, 57, 56]
CHIN = [6, 7, 8, 9, 10]
LOWER = [5, *CHIN, 11, 55, 56, 57, 58, 59, 65, 66, 67]
UPPER = [49, 50, 51, 52, 53, 61, 62, 63]
ABOVE, BELOW = ([i for i in range(68) if i not in other] for other in (LOWER, UPPER))
LEFT = [*range(9, 17), *range(22, 27), 34, 35, *LEFT_EYE, 52, 53, 54, 55, 56, 63, 64, 65]
RARE = {"mouthPucker": 2.0, "browInnerUp": 1.3}
"""How much farther muscles move that few faces in photographs use: the ridge leaves a part of their motion."""
SHUT, APART = 0.03, 0.06
"""Lips nearer than the first (shares of the crop) have nothing to show between them, from the second on all."""
CLOSED = 0.012
"""Lips nearer than this share of the crop touch."""


def gaps(landmarks: Tensor) -> Tensor:
    """(B,) how far the inner lips are apart, in fractions of the crop."""
    return (landmarks[:, INNER_LOWER, 1] - landmarks[:, INNER_UPPER, 1]).mean(1).clamp(min=0)


def reshaped(image: Tensor, landmarks: Tensor, move: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Move the ``landmarks`` (B, 68, 2) of ``image`` (B, 3, S, S) by ``move``, and the lips to ``gap`` (B,) or nearer.

    Returns the picture and its landmarks, all in fractions of the crop. Lips that are to touch are pulled from a little
    inside, so that no rim of teeth stays between them.
    """
    gap = torch.where(gap < CLOSED, torch.zeros_like(gap), gap)
    start = landmarks.clone()
    inside = 0.008 * ((gap == 0) & (gaps(landmarks) > 0.008)).float()[:, None]
    start[:, INNER_UPPER, 1] -= inside
    start[:, INNER_LOWER, 1] += inside
    end = _meeting(start + move, gap)
    size = image.shape[-1]
    edge = torch.tensor([[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)], device=image.device)
    edge = edge.expand(len(image), -1, -1)
    halves = []
    for part in (ABOVE, BELOW):
        points = torch.cat([end[:, part], edge], 1)
        values = torch.cat([(start - end)[:, part], torch.zeros_like(edge)], 1)
        flow = F.interpolate(thin_plate(points, values, size // 4), size=size, mode="bilinear")
        halves.append(warp(image, flow))
    below = _below(end, size)
    return halves[0] * (1 - below) + halves[1] * below, end


def around(points: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): 1 in a box a little wider than ``points`` (B, N, 2), 0 elsewhere, with soft edges."""
    low, high = points.amin(1)[:, :, None] - 0.02, points.amax(1)[:, :, None] + 0.02
    centre = (torch.arange(size, device=points.device) + 0.5) / size
    inside = torch.sigmoid((centre - low) / SOFT) * torch.sigmoid((high - centre) / SOFT)
    return (inside[:, 1, :, None] * inside[:, 0, None])[:, None]


def oval(points: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): 1 in an ellipse a little wider than ``points`` (B, N, 2), 0 elsewhere, with a soft edge."""
    low, high = points.amin(1)[:, :, None] - 0.02, points.amax(1)[:, :, None] + 0.02
    centre = (torch.arange(size, device=points.device) + 0.5) / size
    away = ((2 * centre - low - high) / (high - low)).square()
    return torch.sigmoid(8 * (1 - away[:, 1, :, None] - away[:, 0, None]))[:, None]


def thin_plate(points: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, 2, size, size): the smoothest field that takes ``values`` (B, N, 2) at ``points`` (B, N, 2; fractions of the
    crop), Bookstein 1989."""
    count, number = points.shape[:2]
    kernel = _bend(torch.cdist(points, points)) + 1e-4 * torch.eye(number, device=points.device)
    plane = torch.cat([torch.ones_like(points[..., :1]), points], 2)
    system = torch.cat(
        [torch.cat([kernel, plane], 2), torch.cat([plane.transpose(1, 2), kernel.new_zeros(count, 3, 3)], 2)], 1
    )
    answer = torch.cat([values, values.new_zeros(count, 3, 2)], 1)
    weights = torch.linalg.solve(system.double(), answer.double()).float()
    centre = (torch.arange(size, device=points.device) + 0.5) / size
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="ij")[::-1], -1).view(1, -1, 2).expand(count, -1, -1)
    basis = torch.cat([_bend(torch.cdist(grid, points)), torch.ones_like(grid[..., :1]), grid], 2)
    return (basis @ weights).transpose(1, 2).reshape(count, 2, size, size)


def _bend(distance: Tensor) -> Tensor:
    square = distance**2
    return square * square.clamp(min=1e-9).log()


def _meeting(points: Tensor, gap: Tensor) -> Tensor:
    """The lips closed to ``gap``: the upper third of the way, the lower two thirds, and the chin with it."""
    apart = (points[:, INNER_LOWER, 1] - points[:, INNER_UPPER, 1]).clamp(min=0)
    share = (1 - gap[:, None] / apart.mean(1, keepdim=True).clamp(min=1e-4)).clamp(min=0)
    down, up = 0.35 * share * apart, 0.65 * share * apart
    chin = up.mean(1, keepdim=True)
    points = points.clone()
    for upper, lower in ((INNER_UPPER, INNER_LOWER), (OUTER_UPPER, OUTER_LOWER)):
        points[:, upper, 1] += down
        points[:, lower, 1] -= up
    points[:, [49, 53], 1] += 0.5 * down[:, [0, 2]]
    points[:, [59, 55], 1] -= 0.6 * up[:, [0, 2]]
    points[:, CHIN, 1] -= 0.5 * chin
    points[:, [5, 11], 1] -= 0.3 * chin
    return points


def _below(points: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): 1 below the line where the lips meet, 0 above; off the corners it fades."""
    between = (points[:, INNER_UPPER] + points[:, INNER_LOWER]) / 2
    line = torch.cat([points[:, [60]], between, points[:, [64]]], 1)
    centre = (torch.arange(size, device=points.device) + 0.5) / size
    x = centre.expand(len(points), -1)
    height = _height(line, x[:, None])[:, 0]
    beyond = (line[:, :1, 0] - x).clamp(min=0) + (x - line[:, -1:, 0]).clamp(min=0)
    softness = 0.25 / size + 0.4 * beyond
    return torch.sigmoid((centre.view(1, -1, 1) - height[:, None]) / softness[:, None])[:, None]


def moves(difference: Tensor, displacement: Tensor) -> Tensor:
    """(B, 68, 2): how far a difference of blendshapes (B, 52) moves each landmark, in fractions of the crop."""
    with torch.autocast(difference.device.type, enabled=False):
        return torch.einsum("bk,kld->bld", difference, displacement)


def coarse_flow(
    landmarks: Tensor, difference: Tensor, displacement: Tensor, size: int, part: list[int] | None = None
) -> Tensor:
    """Spread the linear displacement of the landmarks, or those in ``part``, around where they end up, to a flow
    (B, 2, size, size), in fractions of the crop."""
    part = list(range(68)) if part is None else part
    move = moves(difference, displacement)[:, part]
    return -spread(landmarks[:, part] + move, move, size)


def spread(points: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, 2, size, size): a smooth field that is nearly ``values`` (B, N, 2) at ``points`` (B, N, 2; fractions of the
    crop) and fades away from them.

    Each pixel's is the mean of the values, weighed by Gaussians (sigma SPREAD) around their points; 0.3 in the
    denominator lets it fade where no point is near. What such a mean takes from a point's own value is added to it
    before. Gaussians factor into rows and columns.
    """
    centre = (torch.arange(size, device=points.device) + 0.5) / size
    near = torch.exp(-((points[..., None] - centre) ** 2) / (2 * SPREAD**2))  # (B, N, 2, size)
    column, row = near[:, :, 0], near[:, :, 1]
    with torch.autocast(points.device.type, enabled=False):
        close = torch.exp(-(points[:, :, None] - points[:, None]).square().sum(3) / (2 * SPREAD**2))
        values = 2 * values - close @ values / (close.sum(2, keepdim=True) + 0.3)
        weight = torch.einsum("blh,blw->bhw", row, column) + 0.3
        sums = [torch.einsum("blh,blw->bhw", row, column * values[:, :, i : i + 1]) for i in range(2)]
    return torch.stack(sums, 1) / weight[:, None]


def layered(flows: Tensor, landmarks: Tensor, thinner: Tensor) -> tuple[Tensor, Tensor]:
    """One flow (B, 2, S, S) of two (B, 2, 2, S, S), of the face with its upper lip and of the face with its lower one,
    and the hole (B, 1, S, S) that parting lips leave.

    landmarks: (B, 68, 2) of the picture that is fetched from. thinner: (B,) how much of each lip is taken away in its
    middle, from the inside, in fractions of the crop. A pixel that the first flow fetches from above the mouth
    is the upper lip's, one that the second fetches from below it the lower's, and what both claim goes to the nearer:
    lips that meet cover the teeth, where one smooth flow would squeeze them. What neither claims lies behind the lips:
    teeth that were to be seen stay where they are, as the head does, and the rest is the hole. Off the corners all
    fade into one.
    """
    size = flows.shape[-1]
    places = flows + _centres(size, flows.device)
    x, y = places[:, :, 0], places[:, :, 1]
    middle = x.mean(1)
    beyond, thin = _beyond(landmarks, middle), thinner.view(-1, 1, 1) * _rounded(landmarks, middle)
    under = y[:, 0] - _height(landmarks[:, UPPER_EDGE], x[:, 0]) + thin
    over = _height(landmarks[:, LOWER_EDGE], x[:, 1]) - y[:, 1] + thin
    soft = 0.5 / size + 0.4 * beyond
    first, second = (soft * F.softplus(depth / soft) + 1e-12 for depth in (under, over))  # lips may overlap by far
    lips = torch.lerp(flows[:, 0], flows[:, 1], (first / (first + second))[:, None])
    behind = _filled(torch.minimum(under, over), beyond)
    seen = ((gaps(landmarks) - SHUT) / (APART - SHUT)).clamp(0, 1).view(-1, 1, 1, 1) * inside(landmarks, size)
    return lips * (1 - torch.minimum(behind, seen)), F.relu(behind - seen)


def inside(landmarks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): 1 between the inner lips, 0 elsewhere, with an edge of a pixel."""
    x, y = _centres(size, landmarks.device)[:, None]
    depth = torch.minimum(y - _height(landmarks[:, UPPER_EDGE], x), _height(landmarks[:, LOWER_EDGE], x) - y)
    return _filled(depth, _beyond(landmarks, x))


def _filled(depth: Tensor, beyond: Tensor) -> Tensor:
    """(B, 1, S, S): 1 a pixel deep between lips and not beyond their corners; both in fractions of the crop."""
    return ((depth * depth.shape[-1]).clamp(0, 1) * (1 - beyond / 0.01).clamp(min=0))[:, None]


def _rounded(landmarks: Tensor, x: Tensor) -> Tensor:
    """(B, S, S): 1 in the middle of the mouth, 0 from its corners on, in an arc along ``x`` (B, S, S)."""
    first, last = landmarks[:, [60, 64], 0].view(-1, 2, 1, 1).unbind(1)
    return (F.relu(4 * (x - first) * (last - x) / (last - first).square().clamp(min=1e-4)) + 1e-6).sqrt()


def _beyond(landmarks: Tensor, x: Tensor) -> Tensor:
    """(B, S, S): how far ``x`` (B or 1, S, S) lies off the corners of the mouth."""
    first, last = landmarks[:, [60, 64], 0].view(-1, 2, 1, 1).unbind(1)
    return F.relu(first - x) + F.relu(x - last)


def _centres(size: int, device: torch.device) -> Tensor:
    """(2, size, size): the middles of the pixels, x and y, in fractions of the crop."""
    centre = (torch.arange(size, device=device) + 0.5) / size
    return torch.stack([centre.expand(size, size), centre[:, None].expand(size, size)])


def _height(line: Tensor, x: Tensor) -> Tensor:
    """(B, H, W): how low the ``line`` (B, N, 2), left to right, is at ``x`` (B or 1, H, W); level off its ends."""
    run = (line[:, 1:] - line[:, :-1])[..., None, None]
    height = line[:, :1, 1, None]
    for i in range(line.shape[1] - 1):
        width = run[:, i, 0].clamp(min=1e-3)
        along = torch.minimum(F.relu(x - line[:, i, 0, None, None]), width)
        height = height + along * run[:, i, 1] / width
    return height


def fit_displacement(faces: Faces, ridge: float = 20.0) -> Tensor:
    """(52, 68, 2): how far the landmarks move per unit of each blendshape, by ridge regression."""
    both = both_ways(faces)
    x = regressors(both)
    return by_blendshape(x, x.T @ both.landmarks.double().flatten(1), ridge).view(-1, 68, 2)


def both_ways(faces: Faces) -> Faces:
    """The faces' blendshapes and landmarks and, after them, those of their mirror images: both sides count alike."""
    own = faces.only("blendshapes", "landmarks")
    return Faces.joined(own, own.flipped())


def regressors(faces: Faces) -> Tensor:
    """(N, 59), centred: blendshapes, and pose, which takes up what turning the head does."""
    shapes, points = faces.blendshapes.double(), faces.landmarks.double()
    eyes = points[:, 36:48].mean(1)
    nod, bridge = eyes - points[:, 30], eyes[:, 1:] - points[:, 27, 1:]
    chin, apart = eyes - points[:, 8], points[:, 45, :1] - points[:, 36, :1]
    pose = torch.cat([nod, nod**2, chin, bridge, apart], 1)
    return torch.cat([shapes - shapes.mean(0), (pose - pose.mean(0)) / pose.std(0)], 1)


def by_blendshape(x: Tensor, products: Tensor, ridge: float) -> Tensor:
    """(52, K): the ridge regression's slopes per blendshape, of ``regressors`` x (N, R) and x.T @ y (R, K)."""
    solved = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device), products)
    slopes = solved[: len(BLENDSHAPES)].float()
    slopes[0] = 0  # "_neutral" never moves
    return slopes


def local(displacement: Tensor) -> Tensor:
    """(52, 68, 2) without what is only correlated: mouth and jaw move no brow or eye, brows and eyes no mouth or jaw.
    And a whole pucker and inner brow.

    Smiles raise cheeks in photographs, which narrows eyes; an edit that moves them along costs more of the person. And
    faces smile with both corners, so each side's muscle moved both: what the two do together is shared out by side.
    """
    displacement = displacement.clone()
    upper, lower = [*range(17, 27), *RIGHT_EYE, *LEFT_EYE], [*range(17), *LIPS]
    for names, others in ((("mouth", "jaw", "cheekPuff"), upper), (("brow", "eye"), lower)):
        for blendshape in (i for i, name in enumerate(BLENDSHAPES) if name.startswith(names)):
            displacement[blendshape, others] = 0
    left = torch.full((68, 1), 0.5)
    left[[LANDMARK_MIRROR[point] for point in LEFT]], left[LEFT] = 0.0, 1.0
    for here, name in enumerate(BLENDSHAPES):
        if name.startswith("mouth") and name.endswith("Left") and name != "mouthLeft":
            there = MIRROR[here]
            both = displacement[here] + displacement[there]
            displacement[here], displacement[there] = left * both, (1 - left) * both
    for name, more in RARE.items():
        displacement[BLENDSHAPES.index(name)] *= more
    return displacement
