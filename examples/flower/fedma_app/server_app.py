"""What runs on the SuperLink."""

from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from fedma.algorithms import FedMA
from fedma.algorithms.replies import Expected
from fedma.engines.flower import Strategy
from fedma.experiments.server_run_folder import ServerRunFolder
from fedma.matching import Matcher
from fedma.training import Schedule, evaluate
from fedma.units import rebuild, units
from fedma_app.task import make_model, test_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run FedMA from its beginning, or from the last exchange that the folder knows of."""
    config = context.run_config
    run = ServerRunFolder(Path(str(config["folder"])), config)
    model, test = make_model(config), test_data(config)

    local = Schedule(epochs=int(config["local-epochs"]), lr=float(config["lr"]), batch_size=int(config["batch-size"]))
    graph = units(model, test.inputs[:2])
    algorithm = FedMA(
        graph,
        range(int(config["clients"])),
        schedule=local,
        retrain=local,
        output=replace(local, epochs=int(config["output-epochs"]), lr=local.lr / 10),
        rounds=int(config["rounds"]),
        matcher=Matcher(seed=int(config["seed"])),
    )

    def judge(round_: int, arrays: ArrayRecord) -> MetricRecord:
        scored = evaluate([rebuild(model, arrays.to_torch_state_dict())], test)
        return MetricRecord({"accuracy": scored.accuracy, "loss": scored.loss})

    strategy = Strategy(
        algorithm,
        min_replies=int(config["min-replies"]),
        patience=float(config["patience"]),
        expected=Expected.of(model, graph, classes=int(config["classes"])),
        keep=run.keep,
        kept=run.kept,
    )
    result = strategy.start(grid, timeout=float(config["timeout"]), evaluate_fn=judge)
    run.finish(result.arrays.to_torch_state_dict())
