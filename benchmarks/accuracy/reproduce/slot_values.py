"""What FedMA's slots are and what its units are compared by, in federated rounds on the ablation's setting.

    python benchmarks/accuracy/reproduce/slot_values.py --data-folder path/to/mnist [--seeds 0 1 2]

appends to benchmarks/results/trials/slot-values.jsonl one line for each round of FedMA, with one change from the
defaults at a time; the defaults' own lines are those of `fedma reproduce ablation`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from fedma.algorithms import FedMA
from fedma.algorithms.fedma import server as fedma_server
from fedma.algorithms.fedma.server import Aggregation
from fedma.engines import LocalEngine
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.method_factories import MethodInputs, algorithm
from fedma.experiments.reproduce.ablation import ABLATION
from fedma.experiments.settings import Settings
from fedma.matching import Matcher, average
from fedma.training import score
from fedma.units import Weights

RESULTS = Path(__file__).parents[2] / "results" / "trials" / "slot-values.jsonl"


def by_samples(*arguments: Any, samples: Sequence[float], **more: Any) -> Weights:
    """The means, clients weighted by their samples."""
    return average(*arguments, samples=samples, **{**more, "shares": samples})


def posterior(
    work: Aggregation, k: int, matcher: Matcher, original: Callable[..., Aggregation] = Aggregation.match
) -> Aggregation:
    """A step whose slots are posterior means under the reference's constants: the fewer own one, the nearer to zero.

    Source: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML 2019, equation 8.
    """
    work = original(work, k, matcher)
    state, step, graph = work.state, work.steps.steps[k], work.steps.graph
    weights = {name: state.weights[name] for name in step.tensors}
    for group in step.groups:
        owners = torch.cat([own[group].flatten() for own in state.assignments.values()]).bincount()
        for place in graph.places(group):
            if place.role == "out" and place.tensor in weights:
                weights[place.tensor] = weights[place.tensor] * _along(
                    owners / (owners + 1), place.axis, weights[place.tensor]
                )
    return replace(work, state=replace(state, weights={**state.weights, **weights}))


def precise(server: FedMA, federation: Federation) -> FedMA:
    """Units of clients with more samples count more in the matching: as where a unit's variance is that of a mean."""
    samples = torch.tensor([float(len(client)) for client in federation.clients if client.number in federation.members])
    sigma = (samples.mean() / samples).tolist()
    return replace(server, matcher=replace(server.matcher, options={**server.matcher.options, "sigma": sigma}))


VARIANTS: Mapping[str, tuple[dict[str, Any], Callable[[], AbstractContextManager[Any]], bool]] = {
    "averages by samples": ({}, partial(patch.object, fedma_server, "average", by_samples), False),
    "precisions by samples": ({}, nullcontext, True),
    "reference constants, posterior means": (
        {"hyper": "reference"}, partial(patch.object, Aggregation, "match", posterior), False,
    ),
}  # fmt: skip
"""Settings that are changed, what is put in place of the library's, and whether precisions are by samples."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", default="ylecun/mnist", help="where MNIST lies")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    base = next(cell.settings for cell in ABLATION.cells("small", {}) if cell.line == "FedMA")
    for seed in options.seeds:
        for name, (changes, context, precisions) in VARIANTS.items():
            settings = replace(base, data=options.data_folder, seed=seed, device="cpu", **changes)
            with context():
                lines = rounds(settings, precisions=precisions)
            versions = {package: metadata.version(package) for package in ("fedma", "torch", "scipy")}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.writelines(
                    json.dumps({"setting": name, "seed": seed, **line, "versions": versions}) + "\n" for line in lines
                )


def rounds(settings: Settings, *, precisions: bool) -> list[dict[str, Any]]:
    """Accuracy and widths after each round."""
    federation = assemble(settings)
    inputs = MethodInputs(settings, federation.graph, federation.members, settings.rounds, {}, federation.widths)
    server = algorithm("fedma", inputs)
    assert isinstance(server, FedMA)
    if precisions:
        server = precise(server, federation)
    test, lines = federation.dataset.test, []
    with LocalEngine(federation.clients, workers=1, test=test.inputs) as engine:
        engine.reset(federation.initial(common=False))
        state = server.start()
        while asks := server.asks(state):
            before, state = state, server.absorb(state, engine.deliver(asks))
            if state.round > before.round:
                accuracy = score(engine.predict([state.weights]), test.labels).accuracy
                lines.append({"round": state.round, "accuracy": accuracy, "widths": dict(state.widths)})
    return lines


def _along(values: Tensor, axis: int, tensor: Tensor) -> Tensor:
    """A vector laid along one axis of a tensor."""
    return values.view([-1 if a == axis else 1 for a in range(tensor.dim())])


if __name__ == "__main__":
    main()
