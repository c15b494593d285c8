"""Why FedMA's second round falls from a common start (the ablation's line): every exchange, client by client.

    python benchmarks/accuracy/reproduce/common_start.py --data-folder path/to/mnist

writes benchmarks/results/trials/common-start.jsonl: the clients' training losses, the accuracies of their models, and
how many slots of `fc1` each alone owns.
"""

import argparse
import json
from pathlib import Path

import torch

from fedma.engines import LocalEngine
from fedma.experiments.federation import assemble
from fedma.experiments.method_factories import MethodInputs, algorithm
from fedma.experiments.settings import Settings
from fedma.training import score

RESULTS = Path(__file__).parents[2] / "results" / "trials" / "common-start.jsonl"


def main() -> None:
    """Two rounds, without workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", default="mnist", help="where MNIST lies")
    settings = Settings(
        data=parser.parse_args().data_folder, model="lenet", clients=5, partition="dirichlet-paper", alpha=0.5,
        batch_size=32, limit=4000, test_limit=2000, rounds=2, lr=0.03, local_epochs=5, init="common", device="cpu",
    )  # fmt: skip
    federation = assemble(settings)
    fedma = algorithm("fedma", MethodInputs(settings, federation.graph, federation.members, 2, {}, federation.widths))
    test, lines = federation.dataset.test, []
    with LocalEngine(federation.clients, workers=1, test=test.inputs) as engine:
        engine.reset(federation.initial(common=True))
        state = fedma.start()
        while asks := fedma.asks(state):
            replies = engine.deliver(asks)
            line = {"round": state.round + 1, "exchange": state.exchange + 1}
            state = fedma.absorb(state, replies)
            known = state.assignments  # type: ignore[attr-defined]
            maps = {client: own["fc1"].flatten() for client, own in known.items() if "fc1" in own}
            owners = torch.bincount(torch.cat(list(maps.values()))) if maps else torch.zeros(0)
            held = [score(engine.predict([engine.held[c]]), test.labels).accuracy for c in sorted(engine.held)]
            lines.append(line | {
                "losses": [round(reply.metrics["loss"], 4) for reply in replies],
                "accuracies": [round(own, 4) for own in held],
                "fc1": len(owners),
                "fc1_alone": [int((owners[own] == 1).sum()) for own in maps.values()],
            })  # fmt: skip
            if not state.exchange:
                lines[-1]["global"] = round(score(engine.predict([state.weights]), test.labels).accuracy, 4)
    RESULTS.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
