"""Run folders with made-up results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SETTINGS = {"method": ["fedavg", "fedma"], "seed": 0, "data": "digits", "model": "cnn", "clients": 10, "alpha": 0.5}


def line(method: str, round: int, accuracy: float, **others: Any) -> dict[str, Any]:
    """One evaluation; 2 MB up and 3 MB down a round unless said otherwise."""
    return {
        "method": method,
        "round": round,
        "accuracy": accuracy,
        "loss": 0.5,
        "bytes_up": 2_000_000 * round,
        "bytes_down": 3_000_000 * round,
        "clients": 10,
        "local_epochs": 5 * round,
        "samples_seen": 1000 * round,
        "parameters": 1080,
        "client_parameters": 1000,
        "widths": {"hidden": [50, 54]},
        "seconds": 1.5,
        "final": False,
    } | others


def run_folder(folder: Path, lines: Sequence[Mapping[str, Any]], *, finished: bool = True, **settings: Any) -> Path:
    """A run folder with these results; `settings` over the usual ones."""
    folder.mkdir(parents=True)
    record = {
        "fedma": "0.1.0",
        "settings": SETTINGS | settings,
        "versions": {},
        "machine": {},
        "data": {"name": "digits", "train": 1438, "test": 359, "classes": ["0", "1"], "class_counts": [[3, 4]]},
        "started": "2026-01-01T00:00:00",
        "finished": "2026-01-01T00:01:00" if finished else None,
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "results.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return folder
