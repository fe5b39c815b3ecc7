"""An edit with nothing done to make it fast: what `Editor.edit` must equal up to rounding.

One face at a time, one intensity, the whole photograph in double precision, every filter written out, and each graph
run as it was exported, none of its nodes fused. It knows where each face roughly is; all else it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime as ort

from mien.expressions import TEMPLATE
from mien.model import DEFAULT, shipped
from mien.photo.align import five_points, inverse, move, similarity
from mien.target import Target

Arrays = dict[str, np.ndarray]
Kernel = Callable[[np.ndarray], np.ndarray]


@cache
def session(name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(shipped(name).path.read_bytes(), options, providers=["CPUExecutionProvider"])


def run(name: str, inputs: Arrays) -> Arrays:
    graph = session(name)
    outputs = [node.name for node in graph.get_outputs()]
    wanted = {node.name: inputs[node.name] for node in graph.get_inputs()}
    return dict(zip(outputs, graph.run(outputs, wanted), strict=True))


def edit(rgb: np.ndarray, where: list[tuple[float, float]], target: Target, intensity: float) -> np.ndarray:
    """``rgb`` (H, W, 3) uint8 with the faces around the points ``where`` edited, in that order."""
    found = candidates(rgb)
    faces = [measured(rgb, landmarks_of(rgb, found, point)) for point in where]
    edited = rgb
    for face in faces:
        others = [other["matrix"] for other in faces if other is not face]
        edited = painted(edited, face, others, changes(rgb, face, target, intensity))
    return edited


def candidates(rgb: np.ndarray) -> np.ndarray:
    """(N, 15): score, box and five points in photo pixels, of all sizes at which the photograph is searched."""
    view, found = rgb, list[np.ndarray]()
    longest = max(rgb.shape)
    side = min(1920, max(longest, min(2 * longest, 640)))
    while not found or side >= 96:
        height, width = (max(1, round(length * side / longest)) for length in rgb.shape[:2])
        view = smaller(view, height, width)
        image = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        image[0, :, :height, :width] = signed(view)[0]
        faces = run("finder", {"image": image})["faces"][0]
        faces[:, 1:] *= np.tile(np.array(rgb.shape[1::-1]) / (width, height), 7)
        found.append(faces)
        side //= 4
    return np.concatenate(found)


def landmarks_of(rgb: np.ndarray, found: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """(68, 2) of the best candidate around ``point``, read twice: the second time from a better placed crop."""
    around = (found[:, 1:3] < point).all(1) & (found[:, 3:5] > point).all(1)
    best = found[around][found[around, 0].argmax()]
    points = best[5:].reshape(5, 2)
    template = np.array(shipped("landmarks").about["template"])
    for _ in range(2):
        matrix = similarity(points, template)
        read = run("landmarks", {"image": signed(crop(rgb, matrix, shipped("landmarks").size))})["landmarks"][0]
        landmarks = move(inverse(matrix), read).astype(np.float32)
        points = five_points(landmarks)
    return landmarks


def measured(rgb: np.ndarray, landmarks: np.ndarray) -> Arrays:
    matrix = similarity(five_points(landmarks), np.array(TEMPLATE))
    read = {name: run(name, {"image": signed(crop(rgb, matrix, shipped(name).size))})["read"] for name in READERS}
    return {"matrix": matrix, "landmarks": move(matrix, landmarks)[None].astype(np.float32)} | read


READERS = ("muscles", "emotion", "occlusion")


def changes(rgb: np.ndarray, face: Arrays, target: Target, intensity: float) -> Arrays:
    """The model's flow (2, S, S) in crop fractions and delta (3, S, S) of 2."""
    image = signed(crop(rgb, face["matrix"], shipped(DEFAULT).size))
    inputs = {
        "source_image": image,
        "source_blendshapes": face["muscles"],
        "source_landmarks": face["landmarks"],
        "source_emotion": face["emotion"].argmax(1),
        "target_blendshapes": target.goal(face["muscles"][0])[None],
        "target_emotion": np.array([target.emotion or 0]),
        "intensity": np.array([intensity], np.float32),
    }
    result = {name: value[0].astype(float) for name, value in run(DEFAULT, inputs).items()}
    pixels = image * 127.5
    if (pixels.max(1) - pixels.min(1)).mean() < 2:
        result["delta"] = np.repeat(result["delta"].mean(0, keepdims=True), 3, 0)
    return result


def painted(rgb: np.ndarray, face: Arrays, others: list[np.ndarray], change: Arrays) -> np.ndarray:
    """Flow and delta, weighted, at the resolution of the photograph; the crop's border is where both have faded."""
    matrix = face["matrix"]
    corners = move(inverse(matrix), np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    inside = rgb[top:bottom, left:right]
    y, x = np.mgrid[top : top + inside.shape[0], left : left + inside.shape[1]] + 0.5
    size = change["flow"].shape[-1]
    held = weight(matrix, others, size) * uncovered(face["occlusion"][0, 0].astype(float), size)
    controls = np.concatenate([change["flow"], change["delta"]]) * held
    in_crop = move(matrix, np.stack([x, y], -1)) * size
    control = sampled(controls.transpose(1, 2, 0), in_crop, keys(-0.75), outside=False)
    flow = control[..., :2] @ inverse(matrix)[:, :2].T
    fetched = sampled(rgb.astype(float), np.stack([x, y], -1) + flow, keys(-0.75), outside=True)
    fetched = fetched + grain(fetched, flow)
    edited = np.clip(np.rint(fetched + control[..., 2:] * 127.5), 0, 255).astype(np.uint8)
    still = (np.abs(flow).max(-1) < 0.02) & (np.abs(control[..., 2:] * 127.5).max(-1) < 0.5)
    whole = rgb.copy()
    whole[top:bottom, left:right] = np.where(still[..., None], inside, edited)
    return whole


def grain(fetched: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(H, W, 3): what is given back of the grain that the cubic takes between two pixels, most of it half-way."""
    between = np.abs(flow - np.rint(flow))
    wide = np.pad(fetched, ((1, 1), (1, 1), (0, 0)), "edge")
    across = fetched - (wide[1:-1, :-2] + wide[1:-1, 2:]) / 2
    down = fetched - (wide[:-2, 1:-1] + wide[2:, 1:-1]) / 2
    share = 16 * between**2 * (1 - between) ** 2
    return 0.25 * (share[..., :1] * across + share[..., 1:] * down) / 2


def weight(matrix: np.ndarray, others: list[np.ndarray], size: int) -> np.ndarray:
    """(S, S): fades over 12 of 128 pixels to the crop's border, and half-way to every other face."""
    middle = (np.arange(size) + 0.5) / size
    v, u = np.meshgrid(middle, middle, indexing="ij")
    edge = 12 / 128
    faded = smooth(np.minimum(u, 1 - u) / edge) * smooth(np.minimum(v, 1 - v) / edge)
    spots = np.stack([u, v], -1)
    for other in others:
        theirs = np.linalg.norm(move(other, move(inverse(matrix), spots)) - 0.5, axis=-1)
        faded = faded * smooth((theirs - np.linalg.norm(spots - 0.5, axis=-1)) / (2 * edge))
    return faded


MOUTH_AND_EYES = ((0.5, 0.77, 0.17, 0.1), (0.34, 0.38, 0.13, 0.09), (0.66, 0.38, 0.13, 0.09))


def uncovered(chance: np.ndarray, size: int) -> np.ndarray:
    """(S, S): 0 on what is before the face, and on the lower, upper left or upper right face where that is hidden."""
    side = len(chance)
    cover = smooth((chance - MAYBE) / (SURE - MAYBE))
    v, u = (np.mgrid[:side, :side] + 0.5) / side
    lower = smooth((v - 0.55) * 128 / 12)
    right = smooth((u - 0.5) * 128 / 12 + 0.5)
    regions = lower, (1 - lower) * (1 - right), (1 - lower) * right
    for (x, y, width, height), region in zip(MOUTH_AND_EYES, regions, strict=True):
        hidden = cover[((u - x) / width) ** 2 + ((v - y) / height) ** 2 < 1].mean()
        cover = np.maximum(cover, region * smooth((hidden - 0.2) / 0.3))
    wide = np.pad(cover, 3, "edge")
    grown = np.max([wide[i : i + side, j : j + side] for i in range(7) for j in range(7)], 0)
    wide = np.pad(grown, 2, "edge")
    soft = np.mean([wide[i : i + side, j : j + side] for i in range(5) for j in range(5)], 0)
    line = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    hat = np.maximum(0, 1 - np.abs(line[:, None] - np.arange(side)))
    return 1 - hat @ soft @ hat.T


MAYBE, SURE = 0.4, 0.7


def smooth(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return 3 * t**2 - 2 * t**3


def crop(rgb: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) uint8: reduced by a whole factor where the face is large, then Keys' cubic with a = -1."""
    back = inverse(matrix)
    corners = move(back, np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
    pixels = float(np.linalg.norm(back[:, 0])) / size
    margin, factor = 4 * max(1, pixels), max(1, int(pixels))
    low, high = np.floor(corners.min(0) - margin).astype(int), np.ceil(corners.max(0) + margin).astype(int)
    rows = np.clip(np.arange(low[1], high[1]), 0, rgb.shape[0] - 1)
    columns = np.clip(np.arange(low[0], high[0]), 0, rgb.shape[1] - 1)
    region = reduced(rgb[rows][:, columns].astype(float), factor)
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    places = (move(back, np.stack([u, v], -1)) - low) / factor
    return np.clip(sampled(region, places, keys(-1), outside=True), 0, 255).astype(np.uint8)


def smaller(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, with as wide a triangle as the reduction asks for; more than fourfold ones first by whole factors."""
    down = max(1, int(rgb.shape[0] / height / 2)), max(1, int(rgb.shape[1] / width / 2))
    assert down[0] == down[1], "a square view is enough for a test"
    box = np.array(rgb.shape[:2]) / down[0]
    picture = reduced(rgb.astype(float), down[0])
    across = half_up(np.einsum("ow,hwc->hoc", triangles(box[1], width, picture.shape[1]), picture))
    return half_up(np.einsum("oh,hwc->owc", triangles(box[0], height, picture.shape[0]), across)).astype(np.uint8)


def triangles(length: float, outputs: int, inputs: int) -> np.ndarray:
    scale = length / outputs
    centre = (np.arange(outputs)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(inputs) + 0.5 - centre) / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


def reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """The means of squares, rounded; what is left over at the far sides has smaller ones."""
    starts = [np.arange(0, length, factor) for length in picture.shape[:2]]
    sums = np.add.reduceat(np.add.reduceat(picture, starts[0], 0), starts[1], 1)
    counts = [np.diff([*start, length]) for start, length in zip(starts, picture.shape, strict=False)]
    return half_up(sums / np.outer(*counts)[..., None])


def half_up(values: np.ndarray) -> np.ndarray:
    """To the next whole number, a half upwards, and what is a half but for the machine's precision, too."""
    return np.floor(values + (0.5 + 1e-6))


def keys(a: float) -> Kernel:
    """Keys' cubic convolution kernel (1981)."""

    def kernel(t: np.ndarray) -> np.ndarray:
        t = np.abs(t)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = a * (((t - 5) * t + 8) * t - 4)
        return np.where(t <= 1, near, np.where(t < 2, far, 0))

    return kernel


def sampled(picture: np.ndarray, places: np.ndarray, kernel: Kernel, outside: bool) -> np.ndarray:
    """``picture`` (H, W, C) at ``places`` (..., 2), continuous; beyond the border its edge goes on, or it is zero."""
    x, y = places[..., 0] - 0.5, places[..., 1] - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    height, width, channels = picture.shape
    total = np.zeros((*x.shape, channels))
    for row in range(-1, 3):
        for column in range(-1, 3):
            v, u = top + row, left + column
            share = kernel(y - v) * kernel(x - u)
            if not outside:
                share = np.where((v >= 0) & (v < height) & (u >= 0) & (u < width), share, 0)
            total += share[..., None] * picture[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
    return total


def signed(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) in 0..255 -> (1, 3, H, W) float32 in [-1, 1]."""
    return (np.asarray(pixels, np.float32).transpose(2, 0, 1)[None] / np.float32(127.5) - 1).astype(np.float32)
