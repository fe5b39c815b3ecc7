"""The studio as programs meet it, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from running import Running

from mien.cli import main


@pytest.fixture(scope="module")
def client(studio: Running) -> Client:
    return Client(studio.url, verbose=False, analytics_enabled=False)


def typed(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_health_says_that_it_is_well(studio: Running) -> None:
    told = httpx.get(f"{studio.url}/health").json()
    assert told["status"] == "ok"
    assert told["models"][0] == "flowfill"


def test_an_edit_through_http_is_the_command_lines(client: Client, pictures: Path, tmp_path: Path) -> None:
    photo = pictures / "me.jpg"
    for wish, words in (
        ({"to": "surprise", "intensity": 0.5}, ["--to", "surprise", "--intensity", 0.5]),
        ({"muscles": {"jawOpen": 0.5}}, ["--muscle", "jawOpen=0.5"]),
        ({"like": handle_file(pictures / "two.png")}, ["--like", pictures / "two.png"]),
    ):
        answer = Path(client.predict(handle_file(photo), **wish, api_name="/edit"))
        assert typed("edit", photo, *words, "-o", tmp_path / answer.name) == 0
        assert answer.read_bytes() == (tmp_path / answer.name).read_bytes()


def test_faces_are_listed(client: Client, pictures: Path) -> None:
    faces = client.predict(handle_file(pictures / "two.png"), api_name="/faces")
    assert len(faces) == 2
    assert faces[0]["box"][0] < 260 < faces[1]["box"][0]
    assert len(faces[0]["blendshapes"]) == 51


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"to": "joy"}, "choose one of"),
        ({}, "one of to, muscles or like"),
        ({"to": "anger", "face": "9"}, "no face 9"),
        ({"to": "anger", "model": "/etc/passwd"}, "no model"),
        ({"muscles": {"earWiggle": 1.0}}, "no muscle"),
    ],
)
def test_a_mistake_is_told(client: Client, pictures: Path, wish: dict, told: str) -> None:
    with pytest.raises(AppError, match=told):
        client.predict(handle_file(pictures / "me.jpg"), **wish, api_name="/edit")


def test_what_is_too_large_is_refused(client: Client, studio: Running, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1600)).save(tmp_path / "wide.png")
    with pytest.raises(AppError, match="above the limit of 3 million"):
        client.predict(handle_file(tmp_path / "wide.png"), to="anger", api_name="/edit")
    upload = f"{studio.url}/gradio_api/upload"
    assert httpx.post(upload, files={"files": ("big.jpg", b"0" * (5 * 2**20))}).status_code == 413
    claimed = HTTPConnection(studio.url.removeprefix("http://"))
    claimed.putrequest("POST", "/gradio_api/upload")
    claimed.putheader("Content-Length", str(2**40))
    claimed.endheaders()
    assert claimed.getresponse().status == 413
    assert httpx.post(f"{studio.url}/gradio_api/call/edit", content=b"0" * (2**20 + 1)).status_code == 413
    assert httpx.post(upload, content=iter([b"0"])).status_code == 411


def asked(studio: Running, photo: dict) -> str:
    """What ``/edit`` answers, of a request made by hand."""
    call = f"{studio.url}/gradio_api/call/edit"
    data = [photo, "anger", None, None, 1.0, "all", "flowfill"]
    begun = httpx.post(call, json={"data": data})
    return httpx.get(f"{call}/{begun.json()['event_id']}", timeout=60).text if begun.is_success else begun.text


@pytest.mark.parametrize("path", ["/etc/hostname", "http://127.0.0.1:9/me.jpg", "../../../../etc/hostname"])
def test_paths_and_addresses_from_a_client_are_not_opened(studio: Running, path: str) -> None:
    answer = asked(studio, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "event: complete" not in answer
    assert "error" in answer.lower()


def test_files_beside_the_studios_own_are_not_served(studio: Running) -> None:
    for path in ("/etc/hostname", str(Path(__file__)), str(Path.cwd() / "pyproject.toml")):
        assert httpx.get(f"{studio.url}/gradio_api/file={path}").status_code in (403, 404)


def test_a_page_elsewhere_cannot_use_the_studio_under_its_own_name(studio: Running) -> None:
    assert httpx.get(f"{studio.url}/health", headers={"host": "evil.example"}).status_code == 400


def test_no_control_of_the_page_is_an_endpoint(studio: Running) -> None:
    told = httpx.get(f"{studio.url}/gradio_api/info").json()
    assert set(told["named_endpoints"]) == {"/edit", "/faces"}
    assert not told["unnamed_endpoints"]


def test_other_machines_are_let_in_only_with_a_word_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("studio", "--listen") == 2
    assert "--password" in capsys.readouterr().err


def test_a_taken_port_is_told(studio: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("studio", "--port", studio.url.rsplit(":", 1)[1], "--no-browser") == 2
    assert "--port" in capsys.readouterr().err


def test_with_a_password_nothing_is_had_without_it_and_the_folder_goes_at_the_end(tmp_path: Path) -> None:
    running = Running(MIEN_STUDIO_PASSWORD="open sesame", TMPDIR=str(tmp_path))
    try:
        assert [path.stat().st_mode & 0o077 for path in tmp_path.glob("mien-studio-*")] == [0]
        assert httpx.get(f"{running.url}/health").json()["status"] == "ok"
        for path in ("/gradio_api/info", "/config"):
            assert httpx.get(running.url + path).status_code == 401
        assert httpx.post(f"{running.url}/gradio_api/upload", files={"files": b"0"}).status_code == 401
        login = {"username": "me", "password": "wrong"}
        assert httpx.post(f"{running.url}/login", data=login).status_code == 400
        assert httpx.post(f"{running.url}/login", data=login | {"password": "open sesame"}).status_code == 200
    finally:
        running.stop()
    assert not list(tmp_path.glob("mien-studio-*"))


def test_the_folder_of_a_killed_studio_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f"mien-studio-{gone.stdout.strip()}-x"
    left.mkdir()
    check = [sys.executable, "-m", "mien.cli", "studio", "--check"]
    done = subprocess.run(check, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "in order" in done.stdout
    assert not done.stderr
    assert not list(tmp_path.glob("mien-studio-*"))
