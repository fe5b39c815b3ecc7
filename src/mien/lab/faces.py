"""The one record that flows through the lab: a batch of faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mien.expressions import LANDMARK_MIRROR, MIRROR

ABSENT: Any = None
"""A field that is not there. What a method reads is declared and checked before step 0, so methods need not look."""


@dataclass(frozen=True)
class Faces:
    """A batch of B faces; every field may be absent, and a target is simply a partial ``Faces``.

    image: (B, 3, S, S) float RGB in [-1, 1], aligned to ``mien.expressions.TEMPLATE``.
    emotion: (B,) integer index into ``mien.expressions.EXPRESSIONS``; -1 where unlabelled.
    blendshapes: (B, 52) in [0, 1], in the order of ``mien.expressions.BLENDSHAPES``.
    landmarks: (B, 68, 2) as x, y in fractions of the crop, iBUG order.
    identity: (B,) integer; equal numbers are the same person.
    regions: (B, S, S) integer index into ``mien.lab.collections.entry.REGIONS``; 255 where a face has no mask.
    """

    image: Tensor = ABSENT
    emotion: Tensor = ABSENT
    blendshapes: Tensor = ABSENT
    landmarks: Tensor = ABSENT
    identity: Tensor = ABSENT
    regions: Tensor = ABSENT

    def present(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def __len__(self) -> int:
        return next((len(value) for value in self.present().values()), 0)

    def map(self, function: Callable[[Tensor], Tensor]) -> Faces:
        """Apply ``function`` to every field that is there."""
        return Faces(**{name: function(value) for name, value in self.present().items()})

    def __getitem__(self, index: Tensor | slice) -> Faces:
        return self.map(lambda value: value[index])

    def to(self, device: torch.device | str) -> Faces:
        return self.map(lambda value: value.to(device, non_blocking=True))

    def only(self, *names: str) -> Faces:
        """The same faces with the named fields alone."""
        return Faces(**{name: value for name, value in self.present().items() if name in names})

    def having(self, **values: Tensor) -> Faces:
        """The same faces with some fields replaced."""
        return replace(self, **values)

    def flipped(self) -> Faces:
        """Mirrored left to right: pixels, muscle names and landmarks together."""
        changes: dict[str, Tensor] = {}
        if self.image is not None:
            changes["image"] = self.image.flip(-1)
        if self.blendshapes is not None:
            changes["blendshapes"] = self.blendshapes[:, list(MIRROR)]
        if self.landmarks is not None:
            points = self.landmarks[:, list(LANDMARK_MIRROR)]
            changes["landmarks"] = torch.stack([1 - points[..., 0], points[..., 1]], -1)
        if self.regions is not None:
            changes["regions"] = self.regions.flip(-1)
        return replace(self, **changes)

    @staticmethod
    def joined(first: Faces, second: Faces) -> Faces:
        """One batch of two that have the same fields."""
        other = second.present()
        return Faces(**{name: torch.cat([value, other[name]]) for name, value in first.present().items()})

    @staticmethod
    def where(choose: Tensor, yes: Faces, no: Faces) -> Faces:
        """Face by face: ``yes`` where ``choose`` (B,) is true, else ``no``."""
        other = no.present()
        return Faces(
            **{
                name: torch.where(choose.view(-1, *[1] * (value.dim() - 1)), value, other[name])
                for name, value in yes.present().items()
            }
        )
