"""A studio in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


class Running:
    """A studio in a process of its own."""

    def __init__(self, *words: str, cwd: Path | None = None, **environment: str) -> None:
        command = [sys.executable, "-m", "mien.cli", "studio", "--port", "0", "--no-browser", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, **environment}
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().split()[2]

    def stop(self) -> int:
        """Its exit code, after it was asked to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(60)
