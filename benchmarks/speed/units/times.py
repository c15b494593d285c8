"""Times the derivation of unit graphs against the number of operations: one JSON line per model and front end.

python benchmarks/speed/units/times.py            # measure, append to results.jsonl, draw times.png
python benchmarks/speed/units/times.py --draw     # draw only
"""

import json
import platform
import sys
import time
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from fedma.units.derive import FRONT_ENDS, graph_of
from fedma.units.find import units
from fedma.units.inputs import Inputs, at_rest

HERE = Path(__file__).parent
REPEATS = 3


class Bottleneck(nn.Module):
    """Three convolutions with batch norm, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        short = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*short) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def resnet(depths: tuple[int, ...], width: int = 64) -> nn.Module:
    """A bottleneck residual network; depths (3, 4, 6, 3) make ResNet-50, (3, 8, 36, 3) make ResNet-152."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    inputs = width
    for stage, depth in enumerate(depths):
        for block in range(depth):
            layers.append(Bottleneck(inputs, width << stage, 2 if block == 0 and stage else 1))
            inputs = 4 * width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def transformer(layers: int) -> nn.Module:
    """An encoder of the usual proportions at width 64."""
    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True)
    body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(16, 64), body, nn.Linear(64, 10))


def mlp(layers: int) -> nn.Module:
    """A deep narrow network."""
    return nn.Sequential(
        *(module for _ in range(layers) for module in (nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 10)
    )


IMAGE, SEQUENCE, ROW = (2, 3, 64, 64), (2, 8, 16), (2, 32)
MODELS = {
    "ResNet-50": (lambda: resnet((3, 4, 6, 3)), IMAGE),
    "ResNet-101": (lambda: resnet((3, 4, 23, 3)), IMAGE),
    "ResNet-152": (lambda: resnet((3, 8, 36, 3)), IMAGE),
    **{f"transformer of {n} layers": (lambda n=n: transformer(n), SEQUENCE) for n in (2, 6, 12, 24)},
    **{f"MLP of {n} layers": (lambda n=n: mlp(n), ROW) for n in (25, 100, 400)},
}


def measure(name: str, front_end: str) -> dict:
    """Best of some repeats: seconds for tracing and rules, for the graph, and for `units` with its trials."""
    build, shape = MODELS[name]
    model, inputs = build(), Inputs.of(torch.randn(shape))
    parameters = {each for each, _ in model.named_parameters()}
    best: dict[str, float] = {}
    for _ in range(REPEATS):
        with at_rest(model):
            start = time.perf_counter()
            tracer = FRONT_ENDS[front_end](model, inputs)
            traced = time.perf_counter()
            graph_of(tracer, parameters)
            derived = time.perf_counter()
        graph = units(model, inputs.args, front_end=front_end)
        whole = time.perf_counter()
        times = {"trace_s": traced - start, "graph_s": derived - traced, "units_s": whole - derived}
        best = {key: min(value, best.get(key, value)) for key, value in times.items()}
    return {
        "model": name,
        "front_end": front_end,
        "nodes": tracer.operations,
        "groups": len(graph.groups),
        "coverage": round(graph.coverage, 4),
        **{key: round(value, 4) for key, value in best.items()},
        "repeats": REPEATS,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "date": date.today().isoformat(),
    }


def draw() -> None:
    """The plot of all results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in (HERE / "results.jsonl").read_text().splitlines()]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for front_end, marker in (("export", "o"), ("record", "s")):
        own = sorted(
            (r["nodes"], r["trace_s"] + r["graph_s"], r["units_s"]) for r in rows if r["front_end"] == front_end
        )
        nodes, derived, whole = zip(*own, strict=True)
        (line,) = axes.plot(nodes, derived, marker, label=f"{front_end}: derivation")
        axes.plot(
            nodes, whole, marker, markerfacecolor="none", color=line.get_color(), label=f"{front_end}: with trials"
        )
    axes.set(xscale="log", yscale="log", xlabel="operations in the forward pass", ylabel="seconds (best of 3)")
    low, high = axes.get_xlim()
    axes.plot([low, high], [low * 2e-3, high * 2e-3], ":", color="grey", label="2 ms an operation")
    axes.axhline(5, color="grey", linewidth=0.5)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "times.png", dpi=120)


def main() -> None:
    """Measure unless told to draw only."""
    if "--draw" not in sys.argv:
        units(mlp(2), torch.randn(ROW))
        with (HERE / "results.jsonl").open("w") as results:
            for name in MODELS:
                for front_end in FRONT_ENDS:
                    row = measure(name, front_end)
                    results.write(json.dumps(row) + "\n")
                    print(
                        f"{row['model']:25} {row['front_end']:7} {row['nodes']:5} nodes {row['groups']:4} groups",
                        end=" ",
                    )
                    print(
                        f"{row['trace_s']:.2f} + {row['graph_s']:.2f} s, with trials {row['units_s']:.2f} s", flush=True
                    )
    draw()


if __name__ == "__main__":
    main()
