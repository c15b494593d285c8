"""No simulator: the loop that everybody writes first, in one process, with as many threads as there are cores."""

import copy
import sys

import torch
from work import Clock, Task, evaluate, train


def main(path: str) -> None:
    task = Task.read(path)
    model, draw = task.model(), torch.Generator().manual_seed(0)
    clock = Clock("torch")
    for _ in range(1 + task.work.rounds):
        cohort = torch.randperm(task.work.clients, generator=draw)[: task.work.cohort].tolist()
        samples = sum(len(task.parts[client]) for client in cohort)
        mean = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
        for client in cohort:
            local = copy.deepcopy(model)
            train(local, task.client(client), task.work)
            for name, tensor in local.state_dict().items():
                mean[name] += tensor * (len(task.parts[client]) / samples)
        model.load_state_dict(mean)
        clock.round(evaluate(model, task.test)[0], samples)
    clock.end(model, task)


if __name__ == "__main__":
    main(*sys.argv[1:])
