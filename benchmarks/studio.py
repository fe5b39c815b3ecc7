"""How quickly the studio answers: start, first edit, slider, and rounds of 50 requests from 8 visitors at once.

python benchmarks/studio.py examples/astronaut.png --megapixels 1

The slider is timed in Chromium (playwright), from its event to the changed picture; without one that row is left out.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from edit import enlarged
from gradio_client import Client, handle_file

from mien import Editor
from mien.studio.sitting import Sitting

SLIDE = """value => new Promise(done => {
    const image = document.querySelectorAll('#viewer img')[1], began = performance.now();
    image.addEventListener('load', () => done(performance.now() - began), {once: true});
    const slider = document.querySelector('#intensity input[type=range]');
    slider.value = value;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
})"""


def main(
    photo: Annotated[Path, tyro.conf.Positional],
    megapixels: float = 1.0,
    slides: int = 30,
    requests: int = 50,
    visitors: int = 8,
    rounds: int = 5,
) -> None:
    """Print a table and the same as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = enlarged(photo, megapixels, Path(folder) / "photo.jpg")
        rows: dict[str, Any] = {"picture, in process": spread(in_process(path, slides))}
        began = time.perf_counter()
        command = [sys.executable, "-m", "mien.cli", "studio", "--port", "0", "--no-browser"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            url = server.stdout.readline().split()[2]
            client = Client(url, verbose=False, analytics_enabled=False)
            rows["start"] = round(1000 * (time.perf_counter() - began))
            rows["first edit"] = spread([asked(client, path)])
            if chromium := shutil.which("chromium"):
                rows["slider, in Chromium"] = spread(slider(url, path, slides, chromium))
            memory, loads = [resident(server.pid)], []
            for _ in range(rounds):
                loads.append(load(url, path, requests, visitors))
                memory.append(resident(server.pid))
            rows |= loads[0] | {"lost": sum(each["lost"] for each in loads), "MB before and after each round": memory}
        finally:
            server.terminate()
            server.wait()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, ms")
    for name, value in rows.items():
        print(f"{name:28} {value}")
    print(json.dumps(rows))


def in_process(path: Path, slides: int) -> list[float]:
    """A sitting's answer to a changed intensity, without the server."""
    with tempfile.TemporaryDirectory() as folder:
        sitting = Sitting(path, {"flowfill": Editor()}, Path(folder), 10**8)
        sitting.ask("to", to="happiness")
        sitting.picture()
        times = []
        for number in range(slides):
            began = time.perf_counter()
            sitting.ask("intensity", intensity=0.5 + number / slides)
            sitting.picture()
            times.append(time.perf_counter() - began)
    return times


def slider(url: str, path: Path, slides: int, chromium: str) -> list[float]:
    """From the slider's event to the loaded picture, in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script("localStorage.setItem('mien-consent', '1')")
        page.goto(url)
        page.wait_for_selector("#strip img")
        page.get_by_label("Close-up").uncheck()
        page.locator("#photo input[type=file]").set_input_files(str(path))
        page.wait_for_timeout(5000)
        times = [page.evaluate(SLIDE, 0.3 + 0.02 * (number % 50)) / 1000 for number in range(slides + 3)]
        browser.close()
    return times[3:]


def load(url: str, path: Path, requests: int, visitors: int) -> dict[str, Any]:
    """``requests`` edits by ``visitors`` at once; one that fails is lost."""

    def visit(number: int) -> list[float | None]:
        client, times = Client(url, verbose=False, analytics_enabled=False), []
        for _ in range(requests // visitors + (number < requests % visitors)):
            try:
                times.append(asked(client, path))
            except Exception as error:
                print(error, file=sys.stderr)
                times.append(None)
        return times

    began = time.perf_counter()
    with ThreadPoolExecutor(visitors) as pool:
        times = [each for batch in pool.map(visit, range(visitors)) for each in batch]
    spent = [each for each in times if each is not None]
    return {
        f"{requests} edits, {visitors} visitors": spread(spent),
        "lost": len(times) - len(spent),
        "seconds in all": round(time.perf_counter() - began, 1),
    }


def asked(client: Client, path: Path) -> float:
    began = time.perf_counter()
    client.predict(handle_file(path), to="happiness", intensity=0.7, api_name="/edit")
    return time.perf_counter() - began


def spread(times: list[float]) -> dict[str, int]:
    milliseconds = 1000 * np.array(times)
    return {"median": round(float(np.median(milliseconds))), "p95": round(float(np.quantile(milliseconds, 0.95)))}


def resident(process: int) -> int:
    """Memory of a process in MB (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


if __name__ == "__main__":
    tyro.cli(main)
