"""``mien studio``: the page behind a server that is shut to everybody else, with limits, and with a check of itself."""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
import tyro
import uvicorn
from fastapi import FastAPI
from gradio_client import Client, handle_file
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mien import __version__
from mien.editor import Editor
from mien.errors import MienError
from mien.model import DEFAULT
from mien.studio.app import HEAD, THEME, page
from mien.studio.parts import EXAMPLE, Studio

MEGABYTE = 2**20
HERE = "127.0.0.1"
VISITS = 64
"""Visitors whose photograph is kept; of more, the one that was away longest must give it again."""
STYLE = resources.files("mien") / "studio" / "style.css"


@dataclass(frozen=True)
class Settings:
    """Open the studio: a page on this machine with all that mien does to photographs. Ctrl+C closes it.

    Attributes:
        port: Where it listens; 0 takes a free one.
        listen: Let other machines in; needs --password or --no-password.
        password: What a visitor must enter. MIEN_STUDIO_PASSWORD in the environment does the same, unseen by others.
        no_password: With --listen: let everybody in who can reach this machine.
        models: Edit models to choose from, by name or as .onnx files.
        max_megabytes: Refuse larger files.
        max_pixels: Refuse photographs with more pixels than this.
        at_once: Edits computed at a time.
        queue: Requests that may wait; further ones are told to come back.
        keep_minutes: How long an idle visit, its photographs and its results are kept.
        browser: Show the page in the browser.
        check: Start, edit the example through HTTP, stop; the exit code tells how it went.
    """

    port: int = 7860
    listen: bool = False
    password: str | None = None
    no_password: bool = False
    models: tuple[str, ...] = (DEFAULT,)
    max_megabytes: int = 64
    max_pixels: int = 50_000_000
    at_once: int = 2
    queue: int = 32
    keep_minutes: float = 60
    browser: bool = True
    check: bool = False


def main(command: str, words: list[str]) -> int:
    """Runs ``mien studio`` from its words on the command line."""
    settings = tyro.cli(Settings, prog=f"mien {command}", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    password = settings.password or os.environ.get("MIEN_STUDIO_PASSWORD")
    if settings.listen and not (password or settings.no_password):
        raise MienError("--listen lets other machines in: give --password WORD, or --no-password to let everybody in")
    if settings.check:
        return check(settings, password)
    with private_folder() as folder, door(settings) as listening:
        server = uvicorn.Server(configured(application(settings, folder, password)))
        print(f"mien studio: {address(listening)}  (Ctrl+C closes it)", flush=True)
        if settings.browser and not settings.listen:
            threading.Timer(1, webbrowser.open, [address(listening)]).start()
        server.run(sockets=[listening])
    return 0


def check(settings: Settings, password: str | None) -> int:
    """Start on a free port, edit the example through HTTP, compare with the same edit made here, stop."""
    began = time.perf_counter()
    with private_folder() as folder, door(replace(settings, port=0, listen=False)) as listening:
        server = uvicorn.Server(configured(application(settings, folder, password)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            auth = ("mien", password) if password else None
            client = Client(address(listening), auth=auth, verbose=False, analytics_enabled=False)
            ready = time.perf_counter()
            answer = client.predict(handle_file(EXAMPLE), to="surprise", intensity=0.6, api_name="/edit")
            through, done = Path(answer).read_bytes(), time.perf_counter()
            client.close()
        finally:
            server.should_exit = True
            thread.join(10)
        here = Editor(settings.models[0]).edit(EXAMPLE, "surprise", intensity=0.6).save(folder / "here.jpg")
        if through != here.read_bytes():
            raise MienError("the studio answers, but not with the edit that `mien edit` makes; please report this")
    print(f"mien studio: in order (ready after {ready - began:.1f} s, first edit {done - ready:.2f} s)")
    return 0


def application(settings: Settings, folder: Path, password: str | None) -> FastAPI:
    """The page, its programme interface and ``/health`` with the limits of ``settings``."""
    editors = {name: Editor(name) for name in settings.models}
    studio = Studio(editors, folder, settings.max_pixels, settings.at_once, settings.keep_minutes)
    blocks = page(studio)
    blocks.queue(max_size=settings.queue, default_concurrency_limit=settings.at_once)
    blocks.state_session_capacity = VISITS
    app = FastAPI(title="mien studio", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "models": list(editors)}

    app.add_middleware(Limit, most=settings.max_megabytes * MEGABYTE)
    if not settings.listen:  # a page elsewhere must not reach this one under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HERE, "localhost"])
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        auth=(lambda _, word: hmac.compare_digest(word.encode(), (password or "").encode())) if password else None,
        auth_message="Enter any user name, and the password of this studio.",
        max_file_size=settings.max_megabytes * MEGABYTE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=THEME,
        head=HEAD,
        css_paths=[Path(str(STYLE))],
    )


class Limit:
    """Refuses a request whose body is larger than ``most`` bytes (ten times that for uploads of several files).

    What is no upload is at most a megabyte. A body that does not say how long it is, is refused, too.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            length = dict(scope["headers"]).get(b"content-length", b"")
            room = 10 * self.most if scope["path"].endswith("/upload") else MEGABYTE
            if not length.isdigit() or int(length) > room:
                told = f"at most {room // MEGABYTE} megabytes, said in Content-Length\n"
                await PlainTextResponse(told, 413 if length.isdigit() else 411)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def configured(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves ``app``: quietly, and done soon after it is told to stop, though pages are still open."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, ws="none")
    logging.getLogger("uvicorn.error").addFilter(_unexpected)
    return config


def _unexpected(record: logging.LogRecord) -> bool:
    """Whether a line of the log is news: that open pages are cut off at the end is none."""
    cut = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (cut or "graceful shutdown exceeded" in record.getMessage())


@contextmanager
def door(settings: Settings) -> Iterator[socket.socket]:
    """The socket to listen on. MienError where its port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("0.0.0.0" if settings.listen else HERE, settings.port))
        listening.listen()  # who comes before the page is ready waits and is not turned away
    except OSError as error:
        listening.close()
        raise MienError(f"port {settings.port} cannot be had ({error.strerror}); give another --port") from error
    with listening:
        yield listening


def address(listening: socket.socket) -> str:
    """Where the page is."""
    host, port = listening.getsockname()
    return f"http://{host}:{port}"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read and that goes when the studio does. Those of killed studios go now."""
    if hasattr(os, "getuid"):
        for left in Path(tempfile.gettempdir()).glob("mien-studio-*"):
            owner = re.match(r"mien-studio-(\d+)-", left.name)
            if owner and not _lives(int(owner[1])) and left.lstat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"mien-studio-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder goes then, too
        yield Path(folder).resolve()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
