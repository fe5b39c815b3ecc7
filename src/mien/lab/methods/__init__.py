"""Every method and reader that ``mien train`` knows: one file each, one line here."""

from __future__ import annotations

from mien.lab.method import Method
from mien.lab.methods.cyclegan import CycleGAN
from mien.lab.methods.fagan import FAGAN
from mien.lab.methods.flowfill import FlowFill
from mien.lab.methods.ganimation import GANimation
from mien.lab.methods.landmarkcgan import LandmarkCGAN
from mien.lab.methods.laun import LAUN
from mien.lab.methods.lgpgan import LGPGAN
from mien.lab.methods.morphable import Morphable
from mien.lab.methods.motiongan import MotionGAN
from mien.lab.methods.regions import Regions
from mien.lab.methods.stargan import StarGAN
from mien.lab.methods.starganv2 import StarGANv2
from mien.lab.readers.emotion import Emotion
from mien.lab.readers.finder import Finder
from mien.lab.readers.identity import Identity
from mien.lab.readers.landmarks import Landmarks
from mien.lab.readers.muscles import Muscles
from mien.lab.readers.occlusion import Occlusion
from mien.lab.readers.segmenter import Segmenter
from mien.lab.readers.vgg19 import VGG19

METHODS: dict[str, type[Method]] = {
    "flowfill": FlowFill,
    "stargan": StarGAN,
    "starganv2": StarGANv2,
    "laun": LAUN,
    "fagan": FAGAN,
    "cyclegan": CycleGAN,
    "ganimation": GANimation,
    "lgpgan": LGPGAN,
    "regions": Regions,
    "morphable": Morphable,
    "landmarkcgan": LandmarkCGAN,
    "motiongan": MotionGAN,
}

READERS: dict[str, type[Method]] = {
    "finder": Finder,
    "landmarks": Landmarks,
    "muscles": Muscles,
    "occlusion": Occlusion,
    "emotion": Emotion,
    "identity": Identity,
    "segmenter": Segmenter,
    "vgg19": VGG19,
}
