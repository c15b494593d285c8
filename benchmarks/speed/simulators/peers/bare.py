"""No simulator: the fastest loop that we could write by hand for just these works, as the limit.

A process forked for each core, one thread in each, channels-last, data inherited, clients taken from a shared counter,
longest first, one vector of weights and one sum for each process in shared memory, evaluation divided as well.
"""

import ctypes
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from work import EVALUATION_BATCH, Clock, Task, Work

FORK = multiprocessing.get_context("fork")
PROCESSES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, eq=False)
class Shared:
    """What all processes see."""

    weights: Tensor
    sums: Tensor
    right: Tensor
    order: Tensor
    next: "Synchronized[int]"
    gate: Barrier


def main(path: str) -> None:
    task = Task.read(path)
    work, model, draw = task.work, task.model(), torch.Generator().manual_seed(0)
    torch.optim.SGD(model.parameters(), lr=1.0)  # its first use imports the compiler: once here, not in each process
    weights = nn.utils.parameters_to_vector(model.parameters()).detach().share_memory_()
    counts = torch.zeros(PROCESSES, dtype=torch.int64).share_memory_()
    order = torch.zeros(work.cohort, dtype=torch.int64).share_memory_()
    sums = torch.zeros(PROCESSES, len(weights)).share_memory_()
    shared = Shared(weights, sums, counts, order, FORK.Value("i", 0), FORK.Barrier(PROCESSES + 1))
    for number in range(PROCESSES):
        FORK.Process(target=serve, args=(number, task, model, shared), daemon=True).start()
    torch.set_num_threads(1)
    clock = Clock("torch")
    for _ in range(1 + work.rounds):
        cohort = torch.randperm(work.clients, generator=draw)[: work.cohort].tolist()
        order.copy_(torch.tensor(sorted(cohort, key=lambda client: -len(task.parts[client]))))
        shared.next.value = 0
        shared.gate.wait()  # they train
        shared.gate.wait()
        samples = sum(len(task.parts[client]) for client in cohort)
        torch.sum(sums, 0, out=weights).div_(samples)
        shared.gate.wait()  # they evaluate
        shared.gate.wait()
        clock.round(int(counts.sum()) / len(task.test[1]), samples)
    nn.utils.vector_to_parameters(weights, model.parameters())
    clock.end(model, task)


def serve(number: int, task: Task, model: nn.Module, shared: Shared) -> None:
    """The life of a process."""
    keep_memory()
    torch.set_num_threads(1)
    if task.train[0].dim() == 4:
        model.to(memory_format=torch.channels_last)
    work = task.work
    optimizer = torch.optim.SGD(model.parameters(), lr=work.lr, momentum=work.momentum, fused=True)
    draw = torch.Generator().manual_seed(number)
    own = shared.sums[number]
    test = list(zip(*(part.split(EVALUATION_BATCH) for part in task.test), strict=True))[number::PROCESSES]
    test = [(laid_out(inputs), labels) for inputs, labels in test]
    while True:
        shared.gate.wait()
        own.zero_()
        while (client := taken(shared)) is not None:
            rows = task.parts[client]
            load(model, shared.weights)
            train(model, optimizer, task.train, rows[torch.randperm(len(rows), generator=draw)], work)
            add(own, model, len(rows))
        shared.gate.wait()
        shared.gate.wait()
        load(model, shared.weights)
        with torch.inference_mode():
            shared.right[number] = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in test)
        shared.gate.wait()


def taken(shared: Shared) -> int | None:
    """The next client that nobody has taken."""
    with shared.next.get_lock():
        place = shared.next.value
        shared.next.value += 1
    return int(shared.order[place]) if place < len(shared.order) else None


def train(model: nn.Module, optimizer: Any, data: tuple[Tensor, Tensor], order: Tensor, work: Work) -> None:
    """One epoch over all samples, gathered at once."""
    optimizer.state.clear()
    inputs, labels = laid_out(data[0][order]), data[1][order]
    for batch, right in zip(inputs.split(work.batch), labels.split(work.batch), strict=True):
        optimizer.zero_grad()
        cross_entropy(model(batch), right).backward()
        optimizer.step()


def laid_out(inputs: Tensor) -> Tensor:
    """Images channels last."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


@torch.no_grad()
def load(model: nn.Module, weights: Tensor) -> None:
    """Weights from the vector."""
    parameters = list(model.parameters())
    for parameter, values in zip(parameters, weights.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(values.view(parameter.shape))


@torch.no_grad()
def add(total: Tensor, model: nn.Module, share: int) -> None:
    """So many times the weights."""
    parameters = list(model.parameters())
    for parameter, values in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
        values.view(parameter.shape).add_(parameter, alpha=share)


def keep_memory() -> None:
    """Let glibc keep what is freed."""
    trim_threshold, mmap_max = -1, -4
    ctypes.CDLL(None).mallopt(trim_threshold, 2**31 - 1)
    ctypes.CDLL(None).mallopt(mmap_max, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
