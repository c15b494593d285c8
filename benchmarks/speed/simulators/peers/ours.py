"""fedma's local engine: `python -m peers.ours TASK [fp32|bf16]`."""

import sys

from work import SEED, Clock, Task

from fedma.algorithms import Client, FedAvg
from fedma.algorithms.replies import Expected, check
from fedma.data import Split
from fedma.engines import LocalEngine
from fedma.training import Schedule, score
from fedma.units import load, units, weights


def main(path: str, precision: str = "fp32") -> None:
    task = Task.read(path)
    work, template = task.work, task.model()
    graph = units(template, task.test[0][:2])
    expected = Expected.of(template, graph, classes=task.classes)
    data = Split(*task.train)
    clients = [
        Client(number, data, template, graph, task.classes, SEED, rows=part) for number, part in enumerate(task.parts)
    ]
    server = FedAvg(
        graph,
        range(work.clients),
        Schedule(epochs=1, lr=work.lr, momentum=work.momentum, batch_size=work.batch),
        rounds=1 + work.rounds,
        initial=weights(template),
        participants=work.cohort,
    )
    with LocalEngine(clients, precision=precision, test=task.test[0]) as engine:
        state, clock = server.start(), Clock("fedma")
        while asks := server.asks(state):
            replies = engine.deliver(asks)
            check(asks, replies, expected)
            state = server.absorb(state, replies)
            accuracy = score(engine.predict([state.weights]), task.test[1]).accuracy
            clock.round(accuracy, sum(int(reply.metrics["samples_seen"]) for reply in replies))
    load(template, state.weights)
    clock.end(template, task)


if __name__ == "__main__":
    main(*sys.argv[1:])
