"""Clients of different means: every second one has a model half as wide, and FedMA makes one model of all of them."""

import tempfile
from pathlib import Path

from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.report import read, table

settings = Settings(
    model="mlp-64-32",
    method=("fedma", "ensemble"),  # FedAvg cannot: it needs models of one width
    clients=4,
    alpha=1.0,
    widths=(1.0, 0.5),  # parts of the model's width, given to the clients in turn
    local_epochs=8,
    lr=0.02,
)
with tempfile.TemporaryDirectory() as folder:
    results = read(run(settings, Path(folder) / "run"))

print(table([results]))
for group, (own, fused) in results.of("fedma")[-1].widths.items():
    print(f"{group}: clients have {own} or {own // 2} units, the global model {fused}")
