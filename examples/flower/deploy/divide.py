"""Divide a data set among clients, a file for each: python divide.py DATA CLIENTS FOLDER [LIMIT]

DATA is what `fedma run --data` takes. Writes client-0.safetensors and so on, one for each node, and test.safetensors
for the server. Where every machine has its own data, this is not needed.
"""

import sys
from pathlib import Path

from safetensors.torch import save_file

from fedma.data import Split, load, partition


def main(data: str, clients: str, folder: str, limit: str = "") -> None:
    """Write the files."""
    dataset = load(data, limit=int(limit) if limit else None)
    parts = partition(dataset.train, int(clients), alpha=0.5, seed=0)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        save(dataset.train.select(part), Path(folder) / f"client-{number}.safetensors")
    save(dataset.test, Path(folder) / "test.safetensors")


def save(split: Split, path: Path) -> None:
    """Write samples as `fedma_app.task.from_file` reads them."""
    save_file({"inputs": split.inputs.contiguous(), "labels": split.labels.contiguous()}, path)


main(*sys.argv[1:])
