"""How much memory 20 GB of samples take that are read when they are needed, and how fast they come.

    python -m benchmarks.speed.loading.lazy --out benchmarks/speed/loading/lazy.jsonl

Each sample is made from its position: an image of 3×224×224 bytes, as many as make 20 GB. Nothing trains: a line
of results says how many samples a second `batches` gives, with so many loader processes, and by how many MB the peak
memory of the process grew.
"""

import argparse
import json
import platform
import resource
import time
from pathlib import Path

import torch

from fedma.data import from_dataset
from fedma.seeds import generator

SHAPE = (3, 224, 224)
SAMPLES = 20 * 10**9 // (3 * 224 * 224)


class Made(torch.utils.data.Dataset):
    """Samples made from their positions, as costly as decoding a small picture."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        pixels = torch.randint(256, SHAPE, dtype=torch.uint8, generator=generator(0, row))
        return pixels.float().div_(255).sub_(0.5).flip(-1), row % 10


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(loaders: int, batches: int) -> dict[str, object]:
    """One line of results."""
    labels = torch.arange(SAMPLES) % 10
    data = from_dataset(Made(), Made(), labels=labels, loaders=loaders)
    parts = torch.randperm(SAMPLES, generator=generator(0, "order"))[: 32 * batches].split(32)
    before, start = peak(), time.perf_counter()
    count = sum(len(labels) for _, labels in data.train.batches(parts))
    seconds = time.perf_counter() - start
    return {
        "loaders": loaders,
        "samples": count,
        "gigabytes": round(SAMPLES * 3 * 224 * 224 / 1e9, 1),
        "samples_per_second": round(count / seconds, 1),
        "peak_mb": round(peak()),
        "grown_mb": round(peak() - before, 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure each number of loaders and append the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for loaders in (0, 1, 2):
        for batches in (options.batches, 4 * options.batches):
            line = json.dumps(measured(loaders, batches))
            print(line, flush=True)
            if options.out is not None:
                with options.out.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
