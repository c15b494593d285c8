"""Training steps a second of several processes that share a GPU, step by step or recorded as a CUDA graph.

    python benchmarks/speed/gpu/steps.py lenet --device cuda --processes 14 [--graph] [--batch 32] [--seconds 4]

appends a JSON line to results.jsonl beside it. With NVIDIA's MPS running (`nvidia-cuda-mps-control -d`) the processes'
kernels run side by side, without it in turns; `--mps` notes it. Data are noise: nothing is learnt, only timed.
"""

import argparse
import json
import multiprocessing
import platform
import queue
import sys
import time
from collections.abc import Callable
from importlib import metadata
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from torch import Tensor

from fedma.models import build
from fedma.training import Compute, Schedule
from fedma.training.training_loop import _Step

RESULTS = Path(__file__).with_name("results.jsonl")
SHAPES = {"lenet": (1, 28, 28), "vgg9": (3, 32, 32), "vgg9-16": (3, 16, 16)}
SAMPLES = 2048
WAIT = 60.0
"""Seconds that processes may take to begin and end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--graph", action="store_true", help="record a step once and replay it")
    parser.add_argument("--mps", action="store_true", help="only notes in the line that NVIDIA's MPS is running")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    together, rates = context.Barrier(options.processes), context.Queue()
    workers = [context.Process(target=work, args=(options, together, rates)) for _ in range(options.processes)]
    for worker in workers:
        worker.start()
    try:
        found = [rates.get(timeout=options.seconds + WAIT) for _ in workers]
    except queue.Empty:
        sys.exit("a process gave no rate: see what it said above")
    finally:
        for worker in workers:
            worker.join(1)
            worker.terminate()
    line = {
        **vars(options),
        "samples_a_second": round(sum(found)),
        "versions": {name: metadata.version(name) for name in ("fedma", "torch")},
        "machine": torch.cuda.get_device_name(options.device)
        if options.device.startswith("cuda")
        else platform.machine(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def work(options: argparse.Namespace, together: Barrier, rates: "multiprocessing.Queue[float]") -> None:
    """Train for so many seconds, all processes at a time; the rate goes into the queue."""
    torch.set_num_threads(1)
    shape, compute = SHAPES[options.model], Compute(options.device, True, options.precision)
    model = compute.place(build(options.model.removesuffix("-16"), shape, 10, seed=0)).train()
    train = _Step(model, list(model.parameters()), Schedule(lr=0.001), compute)
    draw = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(SAMPLES, *shape, generator=draw), torch.randint(0, 10, (SAMPLES,), generator=draw)
    batches = torch.randperm(SAMPLES, generator=draw)[: SAMPLES // options.batch * options.batch].view(
        -1, options.batch
    )
    if options.graph:
        inputs, labels, batches = (part.to(options.device) for part in (inputs, labels, batches))
        train = recorded(train, inputs[batches[0]], labels[batches[0]])
    wait: Callable[[], None] = torch.cuda.synchronize if options.device.startswith("cuda") else lambda: None
    steps = 0

    def some() -> None:
        nonlocal steps
        for _ in range(20):
            rows = batches[steps % len(batches)]
            train(inputs[rows], labels[rows])
            steps += 1
        wait()

    some()
    together.wait()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < options.seconds:
        some()
    rates.put(steps * options.batch / (time.perf_counter() - begun))


def recorded(step: _Step, inputs: Tensor, labels: Tensor) -> Callable[[Tensor, Tensor], None]:
    """The step as a CUDA graph; the warm-up has moved the weights, which a training would have to undo."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(inputs, labels)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step(inputs, labels)

    def replay(new_inputs: Tensor, new_labels: Tensor) -> None:
        inputs.copy_(new_inputs)
        labels.copy_(new_labels)
        graph.replay()

    return replay


if __name__ == "__main__":
    main()
