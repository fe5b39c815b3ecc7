"""The door between the wings: the user wing never loads the lab, and starts fast without it."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
HEAVY = {"torch", "pyarrow", "scipy", "onnx", "safetensors", "mediapipe", "cv2", "gradio", "matplotlib", "c2pa"}


def loaded(code: str) -> set[str]:
    """The top-level modules that ``code`` loads in a new interpreter."""
    command = f"import sys\n{code}\nprint('LOADED', *sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(done.stdout.split("LOADED")[-1].split())


def test_importing_mien_loads_no_lab() -> None:
    assert not HEAVY & loaded("import mien; mien.Editor")


def test_editing_a_photograph_loads_no_lab(tmp_path: Path) -> None:
    words = ["edit", str(EXAMPLE), "--to", "happiness", "-o", str(tmp_path / "out.png")]
    seen = loaded(f"from mien.cli import main\ntry: main({words!r})\nexcept SystemExit as e: assert not e.code, e.code")
    assert (tmp_path / "out.png").exists()
    assert not HEAVY & seen
    assert not any(name == "mien.lab" for name in seen)


def test_importing_mien_alone_is_quick_because_it_loads_nothing_heavy() -> None:
    assert "onnxruntime" not in loaded("import mien; mien.__version__")


def test_no_module_of_the_user_wing_names_the_lab_at_import() -> None:
    source = Path(__file__).parent.parent / "src" / "mien"
    wing = [p for p in source.rglob("*.py") if not {"lab", "studio"} & set(p.relative_to(source).parts)]
    assert len(wing) > 8
    for path in wing:
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                assert "mien.lab" not in line, path
                assert not any(line.split()[1].split(".")[0] == name for name in HEAVY), (path, line)
