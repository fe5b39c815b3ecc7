"""The files of hashes (`make lock`) hold what constraints.txt names, whole, for every Python that mien runs on."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

packaging = pytest.importorskip("packaging", reason="needs the extra dev")
from packaging.requirements import Requirement  # noqa: E402

ROOT = Path(__file__).parents[2]
FILES = {"requirements-hashed.txt": (), "requirements-hashed-extras.txt": ("video", "studio", "c2pa")}
PYTHONS = {
    "requirements-hashed.txt": ("3.10.0", "3.11.7", "3.14.0"),
    "requirements-hashed-extras.txt": ("3.11.7", "3.14.0"),
}


def locked(name: str) -> list[Requirement]:
    """The file's pins; each must have hashes, and there must be nothing else: no address, no option."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pins = []
    for line in text.splitlines():
        pin, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        assert hashes, line
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes), line
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+( ; [^@]*)?", pin), line
        pins.append(Requirement(pin))
    return pins


def versions(pins: list[Requirement], python: str, system: str = "linux") -> dict[str, str]:
    """What is installed there."""
    where = {"python_full_version": python, "python_version": python[: python.rindex(".")], "sys_platform": system}
    meant = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({**where, "extra": ""})]
    found = {pin.name: str(pin.specifier).removeprefix("==") for pin in meant}
    assert len(found) == len(meant), "a package stands twice"
    return found


@pytest.mark.parametrize(("name", "python"), [(name, python) for name in FILES for python in PYTHONS[name]])
def test_the_hashes_are_of_the_versions_that_mien_is_tested_with(name: str, python: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = versions([Requirement(line) for line in lines if line and line[0] != "#"], python)
    for system in ("linux", "darwin", "win32"):
        found = versions(locked(name), python, system)
        assert {key: version for key, version in tested.items() if key in found}.items() <= found.items()
        for need in map(Requirement, metadata.requires("mien") or ()):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in FILES[name]):
                assert need.specifier.contains(found[need.name]), need


@pytest.mark.parametrize("name", ["numpy", "pillow", "onnxruntime"])
def test_every_kind_of_machine_has_a_file(name: str) -> None:
    """numpy alone comes as some seventy: a list made for one machine would name one."""
    parts = re.findall(rf"^{name}==.*?(?=^[a-z]|\Z)", (ROOT / "requirements-hashed.txt").read_text(), re.M | re.S)
    assert parts
    assert all(part.count("--hash=") > 20 for part in parts)


def test_torch_stays_out() -> None:
    assert not [name for name in FILES if "torch" in {pin.name for pin in locked(name)}]
