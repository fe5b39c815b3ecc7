"""A studio in a process of its own, and how Chromium is started to look at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
]


class Running:
    """A studio in a process of its own."""

    def __init__(self, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "mien.cli", "studio", "--port", "0", "--no-browser", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        assert self.process.stdout
        self.url = self.process.stdout.readline().split()[2]

    def stop(self) -> int:
        """Its exit code, after it was asked to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
