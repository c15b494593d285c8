"""Runs that are interrupted, and what their folders hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedma.algorithms import Reply
from fedma.experiments.callback import Silent


class Stop(Silent):
    """Interrupts at the n-th reply, or as the n-th result comes."""

    def __init__(self, *, reply: int = 0, result: int = 0) -> None:
        self.left, self.results = reply, result

    def reply(self, reply: Reply) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def result(self, line: Mapping[str, Any]) -> None:
        self.results -= 1
        if self.results == 0:
            raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, object]:
    """The models, byte by byte, and the results but for their times."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    models = {path.name: path.read_bytes() for path in sorted((folder / "models").iterdir())}
    return {**models, "results": [{**line, "seconds": None} for line in lines]}
