"""Options that commands of several wings take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mien.errors import MienError
from mien.photo.credentials import Signer, check_format
from mien.photo.find import Finder, MediaPipeFinder, ShippedFinder
from mien.photo.read import MAX_PIXELS
from mien.video.kinds import container_of

Photos = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]
OnePhoto = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
Output = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True)
class Finding:
    """Which finder looks for faces.

    Attributes:
        finder: mien's own, or MediaPipe's (needs `pip install "mien[mediapipe]"`).
        finder_model: MediaPipe's face_landmarker.task file.
        max_pixels: Refuse photographs with more pixels than this.
    """

    finder: Literal["mien", "mediapipe"] = "mien"
    finder_model: Path | None = None
    max_pixels: int = MAX_PIXELS

    def open(self) -> Finder:
        """The finder that was asked for."""
        return MediaPipeFinder(self.finder_model) if self.finder == "mediapipe" else ShippedFinder()


@dataclass(frozen=True)
class Signing:
    """Whether what is written is signed, too.

    Attributes:
        sign: Also sign what was done, as C2PA content credentials, with this certificate (PEM; needs `mien[c2pa]`).
        sign_key: The private key of the certificate (PEM).
    """

    sign: Path | None = None
    sign_key: Path | None = None

    def open(self, clip: Path | None = None) -> Signer | None:
        """Who signs, if anybody. clip: what will be written; MienError where no clip is, or is signed, as that."""
        kind = container_of(clip) if clip else None
        if self.sign is None and self.sign_key is None:
            return None
        if self.sign is None or self.sign_key is None:
            raise MienError("signing takes two files: --sign CERTIFICATE.pem and --sign-key KEY.pem")
        if clip and kind:
            check_format(clip, kind)
        return Signer(self.sign, self.sign_key)


def muscle_of(text: str) -> tuple[str, float]:
    """``"NAME=0.8"`` -> the name and the score."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise MienError(f"--muscle {text}: write it as NAME=SCORE, for example mouthSmileLeft=0.8") from None
