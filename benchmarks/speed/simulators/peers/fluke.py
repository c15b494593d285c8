"""fluke: one process, with as many threads as there are cores (it is parallel on GPUs only)."""

import sys

import torch

# fluke takes networks from torchvision, whose usual build does not load beside PyTorch without CUDA: it asks for these
# two operators. Nothing here uses them, so that it is enough to declare them.
try:
    import torchvision  # noqa: F401
except RuntimeError:
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from fluke import FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.client import Client
from fluke.config import OptimizerConfigurator
from fluke.data import FastDataLoader
from fluke.evaluation import ClassificationEval
from fluke.server import Server
from fluke.utils import FederationObserver
from torch.nn import CrossEntropyLoss
from torchmetrics import Accuracy
from work import EVALUATION_BATCH, SEED, Clock, Task


class Watch(FederationObserver):
    """Hears of the evaluations; the last one, at the end of a run, is no round's."""

    def __init__(self, clock: Clock, rounds: int) -> None:
        self.clock, self.left, self.samples = clock, rounds, 0

    def selected_clients(self, round: int, clients: list[Client]) -> None:
        self.samples = sum(client.n_examples for client in clients)

    def server_evaluation(self, round: int, eval_type: str, evals: dict[str, float], **_: object) -> None:
        if self.left:
            self.clock.round(evals["accuracy"], self.samples)
            self.left -= 1


def main(path: str) -> None:
    task = Task.read(path)
    work, env = task.work, FlukeENV()
    env.set_seed(SEED)
    env.set_device("cpu")
    env.set_inmemory(True)
    env.set_save_options(path=None, save_every=0, global_only=True)
    env.set_eval_cfg(server=True, locals=False, pre_fit=False, post_fit=False)
    accuracy = Accuracy(task="multiclass", num_classes=task.classes, top_k=1)
    env.set_evaluator(ClassificationEval(eval_every=1, n_classes=task.classes, accuracy=accuracy))
    clients = [
        Client(
            number,
            FastDataLoader(
                *task.client(number),
                num_labels=task.classes,
                batch_size=work.batch,
                shuffle=True,
                skip_singleton=False,
            ),
            None,
            OptimizerConfigurator({"name": "SGD", "lr": work.lr, "momentum": work.momentum}),
            CrossEntropyLoss(),
            local_epochs=1,
            # Else momentum would live on from round to round.
            persistency=False,
        )
        for number in range(work.clients)
    ]
    test = FastDataLoader(*task.test, num_labels=task.classes, batch_size=EVALUATION_BATCH)
    server = Server(task.model(), test, clients, weighted=True)
    federation = FedAVG(work.clients, None, {}, clients=clients, server=server)
    clock = Clock("fluke-fl")
    federation.set_callbacks([Watch(clock, 1 + work.rounds)])
    federation.run(1 + work.rounds, work.cohort / work.clients)
    clock.end(server.model, task)


if __name__ == "__main__":
    main(*sys.argv[1:])
