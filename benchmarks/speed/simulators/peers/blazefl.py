"""blazefl: a pool of threads, one for each core, the fastest of its three ways."""

import copy
import os
import sys
import threading

import torch
from blazefl.contrib.fedavg import (
    FedAvgBaseServerHandler,
    FedAvgPartitionType,
    FedAvgThreadPoolClientTrainer,
    FedAvgUplinkPackage,
)
from blazefl.core import deserialize_model, serialize_model
from torch.utils.data import DataLoader, Dataset, TensorDataset
from work import EVALUATION_BATCH, SEED, Clock, Task


class Parts:
    """Its partitioned dataset."""

    def __init__(self, task: Task) -> None:
        self.clients = [TensorDataset(*task.client(number)) for number in range(task.work.clients)]
        self.test = TensorDataset(*task.test)

    def get_dataset(self, type_: FedAvgPartitionType, cid: int | None) -> Dataset:
        return self.test if cid is None else self.clients[cid]

    def get_dataloader(
        self, type_: FedAvgPartitionType, cid: int | None, batch_size: int | None, generator: torch.Generator | None
    ) -> DataLoader:
        return DataLoader(self.get_dataset(type_, cid), batch_size, shuffle=cid is not None, generator=generator)


class Models:
    """Its model selector."""

    def __init__(self, task: Task) -> None:
        self.template = task.model()

    def select_model(self, model_name: str) -> torch.nn.Module:
        return copy.deepcopy(self.template)


class Trainer(FedAvgThreadPoolClientTrainer):
    """With momentum, which its own trainer of clients has none of."""

    momentum: float

    def train(
        self,
        model: torch.nn.Module,
        model_parameters: torch.Tensor,
        train_loader: DataLoader,
        device: str,
        epochs: int,
        lr: float,
        stop_event: threading.Event,
        cid: int,
    ) -> FedAvgUplinkPackage:
        torch.set_num_threads(1)
        deserialize_model(model, model_parameters)
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=self.momentum)
        samples = 0
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            samples += len(labels)
        return FedAvgUplinkPackage(cid, serialize_model(model), samples)


def main(path: str) -> None:
    task = Task.read(path)
    work, parts, models = task.work, Parts(task), Models(task)
    server = FedAvgBaseServerHandler(
        models,
        work.model,
        parts,
        1 + work.rounds,
        work.clients,
        work.cohort / work.clients,
        "cpu",
        EVALUATION_BATCH,
        SEED,
    )
    trainer = Trainer(
        models, work.model, parts, "cpu", work.clients, 1, work.batch, work.lr, SEED, len(os.sched_getaffinity(0))
    )
    trainer.momentum = work.momentum
    clock = Clock("blazefl")
    while not server.if_stop():
        trainer.local_process(server.downlink_package(), server.sample_clients())
        packages = trainer.uplink_package()
        for package in packages:
            server.load(package)
        accuracy = server.get_summary()["server_acc"]
        clock.round(accuracy, sum(package.data_size for package in packages))
    clock.end(server.model, task)


if __name__ == "__main__":
    main(*sys.argv[1:])
