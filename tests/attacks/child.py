"""A process that is asked by lines of JSON, and answers each with a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


class Child:
    """A process of ours that is asked by lines of JSON, and answers each with a line."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", module, *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def tell(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def ask(self, **line: Any) -> dict[str, Any]:
        self.tell(line)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, f"the process ended while it did {line}"
        result: dict[str, Any] = json.loads(answer)
        assert "error" not in result, result["error"]
        return result

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
