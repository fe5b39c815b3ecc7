"""The same faces from frame to frame: landmarks read where they last were, smoothed, with expressions measured on them.

The finder searches the whole frame at the start, after a cut, when a face is lost, and now and then for new ones;
in between the landmark network alone follows each face, at a few milliseconds. Who leaves and returns is known again
by the colours of face, hair and what is around. All networks here compute on one thread:
frames are edited on the others meanwhile, and threads that wait for each other by spinning cost more than they give.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mien.editor import Seen
from mien.model import picture, shipped
from mien.photo.align import crop, five_points, similarity
from mien.photo.find import Face, Finder, face_of, keep_best, read_landmarks

SURE, LOST = 0.8, 0.3
"""Chance of a face above which a track is trusted, and below which it ends."""
FADE = 0.2
"""Seconds in which an edit comes in on a face that appears in the midst of a shot, and goes out on one that goes."""
SMALLEST = 16.0
"""Pixels (longer side of the landmarks' box) below which a face is no longer followed."""
CUT = 28.0
"""Mean change of a small grey view of the frame, in levels of 255, that only another shot makes."""
DARK_CUT = 0.6
"""The same in dark frames, as a share of their brightness: cuts on a dark stage make 0.9 and more, a swung lens 0.4."""
ALIKE = 24.0
"""Mean difference of two looks, in levels of 255, below which they may be one person's."""
DARK_ALIKE = 0.3
"""The same of dark looks, as a share of their brightness."""
REMEMBERED = 64
"""How many people that have left are remembered."""
_LOOK = 1.0
"""Seconds over which a face's look is averaged."""


class OneEuro:
    """The one-euro filter: a low-pass whose cutoff rises with speed, so that rest is still and motion does not lag.

    Casiez, Roussel and Vogel, CHI 2012. rest: cutoff in Hz of what does not move. speed: Hz more for each unit a
    second. Works on arrays, each element by itself.
    """

    def __init__(self, rest: float, speed: float) -> None:
        self.rest, self.speed = rest, speed
        self._value: np.ndarray | None = None
        self._slope = np.zeros(())

    def __call__(self, value: np.ndarray, seconds: float) -> np.ndarray:
        """The filtered ``value``, ``seconds`` after the one before."""
        if self._value is None:
            self._value, self._slope = value, np.zeros_like(value)
            return value
        slope = (value - self._value) / seconds
        self._slope = self._slope + _share(1.0, seconds) * (slope - self._slope)
        share = _share(self.rest + self.speed * np.abs(self._slope), seconds)
        self._value = self._value + share * (value - self._value)
        return self._value


def _share(cutoff: float | np.ndarray, seconds: float) -> float | np.ndarray:
    """The share of a new value in a first-order low-pass of ``cutoff`` Hz."""
    return 1 / (1 + 1 / (2 * np.pi * np.maximum(cutoff, 1e-6) * seconds))


@dataclass(eq=False)
class Track:
    """One face over time. number: 1 for the first of the clip. landmarks: (68, 2) as read in the last frame.

    look: see ``look_of``. presence: how far its edit is faded in, 0 to 1.
    """

    number: int
    landmarks: np.ndarray
    emotion: np.ndarray
    look: np.ndarray
    chance: float = 1.0
    presence: float = 0.0
    _place: OneEuro = field(default_factory=lambda: OneEuro(1.5, 20.0))
    _scores: OneEuro = field(default_factory=lambda: OneEuro(2.0, 3.0))
    _cover: OneEuro = field(default_factory=lambda: OneEuro(1.5, 3.0))
    _seen: Seen | None = None
    _unit: float = 0.0
    _placed: np.ndarray = field(default_factory=lambda: np.zeros((68, 2)))

    @property
    def face(self) -> Face:
        """The face as read, not smoothed."""
        return face_of(self.landmarks, self.chance)

    @property
    def seen(self) -> Seen:
        """The face as the editor wants it, smoothed."""
        assert self._seen is not None, "a track is measured before it is handed out"
        return self._seen

    def settle(self, seconds: float) -> np.ndarray:
        """Smooth the landmarks, in units of the face's first size, and give the (2, 3) matrix of its crop."""
        self._unit = self._unit or max(self.face.size, 1.0)
        self._placed = self._place(self.landmarks / self._unit, seconds) * self._unit
        return similarity(five_points(self._placed))

    def measured(
        self, matrix: np.ndarray, scores: np.ndarray, cover: np.ndarray, view: np.ndarray, seconds: float
    ) -> None:
        """Take the blendshapes (52,) and the cover that were read in ``view`` (S, S, 3), the crop at ``matrix``."""
        face = face_of(self._placed, self.chance)
        smooth = self._scores(scores, seconds).astype(np.float32)
        self._seen = Seen(face, matrix, smooth, self.emotion, self._cover(cover, seconds))
        step = seconds / FADE
        self.presence = float(np.clip(self.presence + (step if self.chance >= SURE else -step), 0, 1))
        if self.chance >= SURE:
            self.look = self.look + (1 - np.exp(-seconds / _LOOK)) * (look_of(view) - self.look)


class Tracker:
    """Follows every face of a clip; feed it each frame in turn.

    finder: what finds new faces. every: frames between two searches; where no face is known, a fifth of it.
    """

    def __init__(self, finder: Finder, every: int = 30) -> None:
        self.finder, self.every = finder, every
        self.tracks: list[Track] = []
        self.cuts = 0
        self.count = 0
        self._small: np.ndarray | None = None
        self._time = 0.0
        self._wait = 0
        self._people: dict[int, np.ndarray] = {}

    def follow(self, rgb: np.ndarray, time: float) -> list[Track]:
        """The faces of the next frame (H, W, 3) uint8 at ``time`` seconds."""
        seconds = max(time - self._time, 1e-3)
        self._time = time
        fresh = self._is_cut(rgb)
        if fresh:
            self.tracks = []
        before = len(self.tracks)
        self._read(rgb)
        self._wait -= 1
        if fresh or self._wait <= 0 or len(self.tracks) < before:
            self._find(rgb)
            self._wait = self.every if self.tracks else max(1, self.every // 5)
        if not self.tracks:
            return []
        muscles, occlusion = shipped("muscles", 1), shipped("occlusion", 1)
        matrices = [track.settle(seconds) for track in self.tracks]
        crops, small = (np.stack([crop(rgb, m, r.size) for m in matrices]) for r in (muscles, occlusion))
        scores = muscles.run({"image": picture(crops)})["read"]
        covers = occlusion.run({"image": picture(small)})["read"][:, 0]
        for track, matrix, score, cover, view in zip(self.tracks, matrices, scores, covers, crops, strict=True):
            track.measured(matrix, score, cover, view, seconds)
            self._people.pop(track.number, None)
            self._people[track.number] = track.look  # the last of them were here last
            if fresh:
                track.presence = 1.0  # a shot begins edited
        self.tracks = [track for track in self.tracks if track.presence > 0]
        for number in list(self._people)[:-REMEMBERED]:
            del self._people[number]
        return self.tracks

    def _is_cut(self, rgb: np.ndarray) -> bool:
        """Whether another shot begins with this frame; the first one counts."""
        green = Image.fromarray(np.ascontiguousarray(rgb[::4, ::4, 1]))
        small = np.asarray(green.resize((32, 18), Image.Resampling.BOX), np.float32)
        before, self._small = self._small, small
        if before is None:
            return True
        limit = np.clip(DARK_CUT * (small.mean() + before.mean()) / 2, 4.0, CUT)
        cut = bool(np.abs(small - before).mean() > limit)
        self.cuts += cut
        return cut

    def _read(self, rgb: np.ndarray) -> None:
        """Read each track's landmarks anew where it was, once more where it has moved far, and end those lost."""
        left, reader = self.tracks, shipped("landmarks", 1)
        for _ in range(2):
            if not left:
                break
            places, chances = read_landmarks(reader, rgb, [track.face.points for track in left])
            far = []
            for track, place, chance in zip(left, places, chances, strict=True):
                was, now = track.face, face_of(place, chance)
                track.landmarks, track.chance = place, float(chance)
                if not (0.6 < now.size / was.size < 1.6 and now.size >= SMALLEST and _inside(now, rgb)):
                    track.chance = 0.0
                elif np.abs(now.points - was.points).mean() > 0.06 * was.size:
                    far.append(track)
            left = far
        alive = [track for track in self.tracks if track.chance >= LOST]
        boxes = np.array([track.face.box for track in alive]).reshape(-1, 4)
        age = np.array([-track.number for track in alive], float)  # of two on one face the elder stays
        self.tracks = [alive[i] for i in sorted(keep_best(boxes, age))]

    def _find(self, rgb: np.ndarray) -> None:
        """Search the frame, and begin a track for each face that no track follows."""
        faces = self.finder.find(rgb)
        if not faces:
            return
        boxes = np.array([*(t.face.box for t in self.tracks), *(f.box for f in faces)])
        known = len(self.tracks)
        order = np.array([*([2.0] * known), *(face.score for face in faces)])
        new = [faces[i - known] for i in keep_best(boxes, order) if i >= known]
        if not new:
            return
        new.sort(key=lambda face: -face.size)
        reader = shipped("emotion", 1)
        crops = np.stack([crop(rgb, similarity(face.points), reader.size) for face in new])
        emotions = reader.run({"image": picture(crops)})["read"]
        looks = [look_of(view) for view in crops]
        for face, emotion, look, number in zip(new, emotions, looks, self._recognised(looks), strict=True):
            if not number:
                self.count += 1
            self.tracks.append(Track(number or self.count, face.landmarks, emotion, look))

    def _recognised(self, looks: list[np.ndarray]) -> list[int]:
        """For each look the number of the person who left with the one most like it; 0 for someone new."""
        here, numbers = {track.number for track in self.tracks}, [0] * len(looks)
        gone = [number for number in self._people if number not in here]
        pairs = [(_apart(look, self._people[n]), i, n) for i, look in enumerate(looks) for n in gone]
        for apart, i, number in sorted(pairs):
            if apart < 1 and not numbers[i] and number not in numbers:
                numbers[i] = number
        return numbers


def look_of(view: np.ndarray) -> np.ndarray:
    """The colours (8, 8, 3) of an aligned crop (S, S, 3): of face, hair, and what is around."""
    block = view.shape[0] // 8
    return view[: 8 * block, : 8 * block].reshape(8, block, 8, block, 3).mean((1, 3))


def _apart(look: np.ndarray, other: np.ndarray) -> float:
    """How far two looks are from each other; below 1 they may be one person's."""
    limit = min(ALIKE, DARK_ALIKE * float(min(look.mean(), other.mean())))
    return float(np.abs(look - other).mean()) / max(limit, 1.0)


def _inside(face: Face, rgb: np.ndarray) -> bool:
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    return bool(0 <= x < rgb.shape[1] and 0 <= y < rgb.shape[0])
