"""pfl-research: a process for each core (torchrun), one thread in each, users scheduled by their samples."""

import sys

import numpy as np
import torch
from pfl.aggregate.base import get_num_datapoints_weight_name
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.central_evaluation import CentralEvaluationCallback
from pfl.common_types import Population
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics, StringMetricName, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from work import EVALUATION_BATCH, SEED, Clock, Task

NEVER = 10**9


class Judged(nn.Module):
    """A model with the loss and the metrics that pfl asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.model.train()
        return cross_entropy(self.model(inputs), labels)

    @torch.no_grad()
    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Weighted]:
        self.model.eval()
        right = int((self.model(inputs).argmax(1) == labels).sum())
        return {"accuracy": Weighted(right, len(labels))}


class Evaluation(CentralEvaluationCallback):
    """After every round, the first included, and not before it."""

    def __init__(self, dataset: Dataset, params: NNEvalHyperParams, clock: Clock | None) -> None:
        super().__init__(dataset, model_eval_params=params)
        self.clock = clock

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        stop, metrics = self._eval(model)
        if self.clock is not None:
            trained = aggregate_metrics[get_num_datapoints_weight_name(Population.TRAIN)].weighted_value
            self.clock.round(metrics[StringMetricName("Central val | accuracy")].overall_value, int(trained))
        return stop, metrics


def main(path: str) -> None:
    torch.set_num_threads(1)
    task = Task.read(path)
    work, judged = task.work, Judged(task.model())
    model = PyTorchModel(
        judged,
        lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=work.momentum),
        torch.optim.SGD(judged.parameters(), lr=1.0),
    )
    first = pytorch_ops.distributed.global_rank == 0
    np.random.seed(SEED)  # noqa: NPY002, TID251  (what pfl draws from)

    def user(number: int) -> Dataset:
        inputs, labels = task.client(number)
        order = torch.randperm(len(labels))
        return Dataset((inputs[order], labels[order]), user_id=str(number))

    users = FederatedDataset(
        user,
        get_user_sampler("minimize_reuse", range(work.clients)),
        user_id_to_weight={number: len(part) for number, part in enumerate(task.parts)},
    )
    backend = SimulatedBackend(users, users, postprocessors=[WeightByDatapoints()])
    clock = Clock("pfl") if first else None
    # Its own evaluation of every client before and after training can be had rarely, but not never: round 1 has it.
    FederatedAveraging().run(
        NNAlgorithmParams(
            1 + work.rounds, evaluation_frequency=NEVER, train_cohort_size=work.cohort, val_cohort_size=0
        ),
        backend,
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=work.lr, local_batch_size=work.batch),
        NNEvalHyperParams(local_batch_size=EVALUATION_BATCH),
        callbacks=[Evaluation(Dataset(task.test), NNEvalHyperParams(local_batch_size=EVALUATION_BATCH), clock)],
        send_metrics_to_platform=False,
    )
    if clock is not None:
        clock.end(judged.model, task)


if __name__ == "__main__":
    main(*sys.argv[1:])
