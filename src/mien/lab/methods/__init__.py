"""Every method and reader that ``mien train`` knows: one file each, one line here."""

from __future__ import annotations

from mien.lab.method import Method
from mien.lab.methods.flowfill import FlowFill
from mien.lab.methods.stargan import StarGAN
from mien.lab.readers.emotion import Emotion
from mien.lab.readers.finder import Finder
from mien.lab.readers.identity import Identity
from mien.lab.readers.landmarks import Landmarks
from mien.lab.readers.muscles import Muscles

METHODS: dict[str, type[Method]] = {
    "flowfill": FlowFill,
    "stargan": StarGAN,
}

READERS: dict[str, type[Method]] = {
    "finder": Finder,
    "landmarks": Landmarks,
    "muscles": Muscles,
    "emotion": Emotion,
    "identity": Identity,
}
