"""Which of a clip's people is meant: chosen once, then followed."""

from __future__ import annotations

from mien.photo.find import choose
from mien.video.track import Track


class Chosen:
    """The numbers of the tracks that ``which`` means, as ``choose`` has it: asked at each moment in turn.

    The choice is made where the first faces show and stays with that person, who may leave and return. In another shot
    where the person is not recognised, it is made anew among those who were not seen before.
    """

    def __init__(self, which: str) -> None:
        self.which = which
        self.numbers: set[int] = set()
        self._known: set[int] = set()
        self._shot = -1

    def __call__(self, tracks: list[Track], shot: int) -> set[int]:
        """The chosen ones; those of them that ``tracks`` lacks are not in the picture. shot: the tracker's cuts.

        Raises MienError where the first faces have none that ``which`` names.
        """
        if self.which == "all":
            return {track.number for track in tracks}
        if not tracks:
            return self.numbers
        if shot != self._shot and not any(track.number in self.numbers for track in tracks):
            new = [track for track in tracks if track.number not in self._known]
            if not self._known or self._possible(new):
                self.numbers = {new[i].number for i in choose([track.face for track in new], self.which)}
        self._shot = shot
        self._known |= {track.number for track in tracks}
        return self.numbers

    def _possible(self, new: list[Track]) -> bool:
        """Whether the choice can be made again: by size; a number may be too high, a point is of its shot."""
        if self.which == "largest":
            return bool(new)
        return self.which.isdecimal() and int(self.which) <= len(new)
