"""Flower's simulation: an actor for each core, one thread in each."""

import os
import sys
from functools import lru_cache

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from work import Clock, Task, evaluate, train

client_app, server_app = ClientApp(), ServerApp()


@lru_cache
def task() -> Task:
    """Read once in each process."""
    return Task.read(os.environ["SIMULATORS_TASK"])


@client_app.train()
def local(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    pair = task().client(int(context.node_config["partition-id"]))
    model = task().model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    train(model, pair, task().work)
    reply = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(pair[1])})}
    return Message(content=RecordDict(reply), reply_to=message)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    work, model = task().work, task().model()
    strategy = FedAvg(
        fraction_train=work.cohort / work.clients,
        fraction_evaluate=0.0,
        min_available_nodes=work.clients,
        train_metrics_aggr_fn=lambda replies, key: MetricRecord(
            {"samples": sum(next(iter(reply.metric_records.values()))[key] for reply in replies)}
        ),
    )
    average = strategy.aggregate_train
    seen = []

    def aggregate(server_round: int, replies: list[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        arrays, metrics = average(server_round, replies)
        seen.append(metrics["samples"])
        return arrays, metrics

    def judge(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        accuracy = evaluate(model, task().test)[0] if server_round else 0.0
        if server_round:
            clock.round(accuracy, seen[-1])
        return MetricRecord({"accuracy": accuracy})

    strategy.aggregate_train = aggregate
    clock = Clock("flwr")
    strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=1 + work.rounds, evaluate_fn=judge)
    clock.end(model, task())


def main(path: str) -> None:
    os.environ["SIMULATORS_TASK"] = path
    resources = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": len(os.sched_getaffinity(0))}}
    run_simulation(server_app, client_app, task().work.clients, backend_config=resources)


if __name__ == "__main__":
    # Apps defined in the script that runs would be sent to the actors with every message, data and all.
    from peers.flower import main as imported

    imported(*sys.argv[1:])
