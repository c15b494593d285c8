"""What the accuracy benchmarks share: train one method, run the cells that are missing, put a table into a README."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedma.algorithms import Algorithm, Ask, Client, Reply, State
from fedma.engines import LocalEngine
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.method_factories import MethodInputs, algorithm
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.training import score

Take = Callable[[Sequence[Ask], list[Reply]], list[Reply]]


@dataclass(frozen=True)
class Trained:
    """One training, from its first exchange to its last.

    Attributes:
        federation: the clients and their data.
        server: the algorithm.
        state: its last state.
        accuracy: of the global model, on the test split.
        cpu_seconds: processor time of the exchanges and the evaluation.
    """

    federation: Federation
    server: Algorithm
    state: State
    accuracy: float
    cpu_seconds: float


def server_of(federation: Federation) -> Algorithm:
    """The algorithm of the settings' one method."""
    settings, (method,) = federation.settings, federation.settings.method
    start = federation.initial(common=True)[0] if METHODS.get(method).common_start else {}
    inputs = MethodInputs(
        settings, federation.graph, federation.members, settings.rounds, start, federation.widths
    )  # fmt: skip
    return algorithm(method, inputs)


def train(
    settings: Settings,
    *,
    client: Callable[[Client], Client] = lambda client: client,
    take: Take = lambda asks, replies: replies,
) -> Trained:
    """Train the settings' one method, in this process.

    Args:
        settings: of one method.
        client: makes of each client the one that takes part, such as a malicious one.
        take: the replies that are absorbed, given the asks and all replies.
    """
    federation = assemble(settings)
    server, (method,) = server_of(federation), settings.method
    began, test = time.process_time(), federation.dataset.test
    with LocalEngine([client(own) for own in federation.clients[:-1]], workers=1, test=test.inputs) as engine:
        engine.reset(federation.initial(common=METHODS.get(method).common_start))
        state = server.start()
        while asks := server.asks(state):
            state = server.absorb(state, take(asks, engine.deliver(asks)))
        accuracy = score(engine.predict([state.weights]), test.labels).accuracy
    return Trained(federation, server, state, accuracy, round(time.process_time() - began, 1))


def run_missing(
    results: Path, names: Sequence[str], keys: Sequence[tuple[Any, ...]], cell: Callable[..., Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """All lines of a result file, after the cells that it lacks have been run and appended.

    Args:
        results: a file of JSON lines.
        names: the fields that tell cells apart.
        keys: their values, for each wanted cell.
        cell: runs one, given these values.
    """
    lines = [json.loads(line) for line in results.read_text("utf-8").splitlines()] if results.exists() else []
    done = {tuple(line[name] for name in names) for line in lines}
    for key in keys:
        if key not in done:
            lines.append(cell(*key))
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    return lines


def put_table(readme: Path, table: str) -> None:
    """Put a table between the markers of a README."""
    head, _, rest = readme.read_text("utf-8").partition("<!-- table -->\n")
    _, _, tail = rest.partition("<!-- end -->\n")
    readme.write_text(f"{head}<!-- table -->\n\n{table}\n\n<!-- end -->\n{tail}", encoding="utf-8")
