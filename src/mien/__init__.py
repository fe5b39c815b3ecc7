"""mien: change the expression on any face in a photograph; train, compare and trust the models that do it.

from mien import Editor
Editor().edit("me.jpg", "happiness", intensity=0.7).save("out.jpg")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime loads: its wheels call home otherwise

if TYPE_CHECKING:
    from mien.editor import Edited, Editor, Seen
    from mien.errors import MienError
    from mien.photo.credentials import Signer
    from mien.photo.read import Photo
    from mien.target import Target

__version__ = "0.1.0"
__all__ = ["Edited", "Editor", "MienError", "Photo", "Seen", "Signer", "Target", "__version__"]

_HOMES = {
    "Edited": "mien.editor",
    "Editor": "mien.editor",
    "Seen": "mien.editor",
    "MienError": "mien.errors",
    "Photo": "mien.photo.read",
    "Signer": "mien.photo.credentials",
    "Target": "mien.target",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that ``import mien`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
