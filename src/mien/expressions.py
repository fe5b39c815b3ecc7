"""Names that the whole project shares: expressions and blendshapes. Data only; prototypes lie beside the weights."""

from typing import Literal, get_args

Expression = Literal["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"]

EXPRESSIONS: tuple[Expression, ...] = get_args(Expression)
"""The seven expressions, in the order of every label and every classifier of mien."""

# fmt: off
BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
    "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward",
    "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)
# fmt: on
"""The 52 ARKit blendshape names in MediaPipe's order; scores lie in [0, 1] and ``_neutral`` is always 0."""

GAZE = tuple(name for name in BLENDSHAPES if name.startswith("eyeLook"))
"""Where the eyes look: no expression of its own, so every edit leaves it as it is."""


def mirrored(name: str) -> str:
    """The blendshape that ``name`` becomes when the picture is flipped left to right."""
    if name.endswith("Left"):
        return name[: -len("Left")] + "Right"
    if name.endswith("Right"):
        return name[: -len("Right")] + "Left"
    return name


MIRROR = tuple(BLENDSHAPES.index(mirrored(name)) for name in BLENDSHAPES)
"""``flipped = scores[..., MIRROR]`` for a picture flipped left to right."""

TEMPLATE = ((0.34, 0.42), (0.66, 0.42), (0.5, 0.6), (0.375, 0.76), (0.625, 0.76))
"""Eye, eye, nose tip, mouth corner, mouth corner in fractions of an aligned crop: what every model is trained on."""

LANDMARK_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46),
    *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *(67, 66, 65),
)
"""The 68 landmarks (iBUG order) of a flipped picture: ``flipped = points[..., LANDMARK_MIRROR, :]`` with x -> 1 - x."""
