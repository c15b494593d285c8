"""Times matching against a row loop, and against nothing but the matrix products and assignments that it needs.

export OMP_NUM_THREADS=1
python benchmarks/speed/matching/times.py speed     # every layer, four ways: rewrites speed.jsonl (ten minutes)
python benchmarks/speed/matching/times.py ours      # the same without the row loop: prints, writes nothing
python benchmarks/speed/matching/times.py scale     # many clients, wide layers: rewrites scale.jsonl (four minutes)
python benchmarks/speed/matching/times.py draw      # the plot and the tables in README.md, from the two files
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import scipy
import torch
from rowloop import RowLoop
from scipy.optimize import linear_sum_assignment

from fedma.matching import Matching, match
from fedma.seeds import generator

HERE = Path(__file__).parent
SEED, SWEEPS = 0, 5
CLARITY, PRIVATE = 3.5, 0.1
"""How far a unit's correlation with its slot stands out of chance, and the share of units that no other client has.

With these a sweep moves about as many units as on LeNets trained apart on MNIST."""

LENET_5 = {"conv1": (20, 26), "conv2": (50, 701), "fc1": (500, 929)}
LENET_16 = {"conv1": (20, 26), "conv2": (50, 876), "fc1": (500, 1041)}
VGG_16 = {
    "conv1": (32, 28),
    "conv2": (64, 424),
    "conv3": (128, 712),
    "conv4": (128, 1288),
    "conv5": (256, 1288),
    "conv6": (256, 2440),
    "fc1": (512, 4337),
    "fc2": (512, 528),
}
NETWORKS = {"LeNet": ((5, LENET_5), (16, LENET_16)), "VGG-9": ((16, VGG_16),)}


def clients(J: int, units: int, features: int, seed: int = SEED) -> list[torch.Tensor]:
    """Clients much as trained ones are: most units from a common pool, shuffled, under much noise; float32."""
    draw = generator(seed, "clients", J, units, features)
    private = int(PRIVATE * units)
    pool = torch.randn(units - private + units // 20, features, generator=draw)
    noise = max(features**0.5 / CLARITY - 1, 0.1) ** 0.5
    found = []
    for _ in range(J):
        common = pool[torch.randperm(len(pool), generator=draw)[: units - private]]
        own = torch.cat([common, torch.randn(private, features, generator=draw)])
        own = own[torch.randperm(units, generator=draw)] + noise * torch.randn(units, features, generator=draw)
        found.append(own * (0.03 / (1 + noise**2) ** 0.5))
    return found


def timed(call: Callable[[], Matching]) -> tuple[Matching, float]:
    """What it gives, and the seconds of processor time that it takes."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def ours(rows: list[torch.Tensor], orders: list[list[int]]) -> tuple[Matching, dict[str, float]]:
    """The matching by the reference's rules; and the times of this and of the default, best of three."""
    tries = [timed(lambda: match(rows, hyper="reference", mu0=0.0, orders=orders)) for _ in range(3)]
    default = [timed(lambda: match(rows, max_slots=len(rows[0]) * 3 // 2)) for _ in range(3)]
    return tries[0][0], {
        "reference_s": round(min(seconds for _, seconds in tries), 4),
        "default_s": round(min(seconds for _, seconds in default), 4),
        "default_sweeps": len(default[0][0].history) - 1,
        "default_slots": len(default[0][0].counts),
    }


def row_loop(rows: list[torch.Tensor], orders: list[list[int]]) -> tuple[RowLoop, dict[str, float]]:
    """The row loop, and its time; and the floor: one bare product and one bare assignment for each of its solves."""
    twin = RowLoop([row.double().numpy() for row in rows])
    seconds, products, assignments = 0.0, 0.0, 0.0
    solves = twin.run(orders)
    while True:
        start = time.process_time()
        solve = next(solves, None)
        seconds += time.process_time() - start
        if solve is None:
            break
        units, sums, scores = solve
        start = time.process_time()
        np.matmul(units, sums.T)
        middle = time.process_time()
        linear_sum_assignment(scores, maximize=True)
        products, assignments = products + middle - start, assignments + time.process_time() - middle
    return twin, {
        "row_loop_s": round(seconds, 4),
        "floor_s": round(products + assignments, 4),
        "floor_products_s": round(products, 4),
    }


def layers() -> Iterator[tuple[str, int, str, int, int]]:
    """Network, clients, layer, units, features."""
    for network, sizes in NETWORKS.items():
        for J, shapes in sizes:
            for layer, shape in shapes.items():
                yield network, J, layer, *shape


def speed(*, write: bool) -> None:
    """Every layer by every way."""
    lines = []
    for network, J, layer, units, features in layers():
        rows = clients(J, units, features)
        draw = generator(SEED, "orders")
        orders = [torch.randperm(J, generator=draw).tolist() for _ in range(SWEEPS)]
        found, times = ours(rows, orders)
        if write:
            twin, more = row_loop(rows, orders)
            same = [own.tolist() for own in found.assignments] == [twin.seats[j] for j in range(J)]
            if not same:
                sys.exit(f"{network} {layer} with {J} clients: the row loop found another matching")
            times = more | times
        line = {"network": network, "clients": J, "layer": layer, "units": units, "features": features}
        line |= {"slots": len(found.counts), "solves": J - 1 + SWEEPS * J, **times, **settings()}
        print(json.dumps(line), flush=True)
        lines.append(line)
    if write:
        (HERE / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def settings() -> dict[str, object]:
    """What a line holds besides its measurements."""
    return {
        "seed": SEED,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "date": date.today().isoformat(),
    }


SCALE = [(J, 100, 200) for J in (5, 10, 20, 50, 100, 200, 500, 1000)] + [(1000, 500, 800), (16, 4096, 4096)]
SCALE_SWEEPS = 1


def one(J: int, units: int, features: int) -> None:
    """The default, held to a few sweeps, in this process, and how much memory it took beyond its clients."""
    rows = clients(J, units, features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, seconds = timed(lambda: match(rows, max_slots=units * 3 // 2, sweeps=SCALE_SWEEPS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {"clients": J, "units": units, "features": features, "sweeps": SCALE_SWEEPS, "slots": len(found.counts)}
    line |= {"seconds": round(seconds, 3), "clients_mib": J * units * features * 4 // 2**20}
    line |= {"before_mib": before // 1024, "peak_mib": peak // 1024}
    print(json.dumps(line | settings()), flush=True)


def scale() -> None:
    """Each size in a process of its own."""
    lines = []
    for size in SCALE:
        command = [sys.executable, __file__, "one", *map(str, size)]
        lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(lines[-1], end="", flush=True)
    (HERE / "scale.jsonl").write_text("".join(lines))


def read(name: str) -> list[dict]:
    """The lines of a result file."""
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def draw() -> None:
    """The plot of seconds against clients, and the tables in README.md."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curve = [line for line in read("scale.jsonl") if line["units"] == 100]
    J, seconds = [line["clients"] for line in curve], [line["seconds"] for line in curve]
    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    axes.loglog(J, seconds, "o-", label="100 units of 200 features")
    axes.loglog(J, [seconds[-1] * j / J[-1] for j in J], ":", color="grey", label="in proportion")
    axes.set(xlabel="clients", ylabel="seconds of processor time")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "scale.png", dpi=120)
    readme = HERE / "README.md"
    text = readme.read_text()
    for name, table in (("speed", speed_table()), ("scale", scale_table())):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(start)
        text = head + start + table + end + rest.split(end)[1]
    readme.write_text(text)


def speed_table() -> str:
    """Seconds by layer, and their sums."""
    lines, times = read("speed.jsonl"), ("row_loop_s", "reference_s", "default_s", "floor_s")
    rows = [
        "| network | layer | units × features | slots | row loop | reference | default | floor |",
        "|---|" + "---|" * 7,
    ]
    for network, sizes in NETWORKS.items():
        for J, _ in sizes:
            own = [line for line in lines if (line["network"], line["clients"]) == (network, J)]
            for line in own:
                shape = f"{line['units']} × {line['features']} | {line['slots']}, {line['default_slots']}"
                seconds = " | ".join(f"{line[key]:.2g}" for key in times)
                rows.append(f"| {network}, {J} clients | {line['layer']} | {shape} | {seconds} |")
            a, b, c, d = (sum(line[key] for line in own) for key in times)
            rows.append(f"| **{network}, {J} clients** | all | | | {a:.1f} | {b:.2f} | {c:.2f} | {d:.2f} |")
            rows.append(f"| | ratio to reference | | | {a / b:.1f} | 1 | {c / b:.2f} | {d / b:.2f} |")
    return "\n".join(rows) + "\n"


def scale_table() -> str:
    """Seconds and memory by size."""
    rows = [
        "| clients | units × features | seconds | clients' own MiB | MiB before | MiB at most |",
        "|---|" + "---|" * 5,
    ]
    for line in read("scale.jsonl"):
        shape = f"{line['units']} × {line['features']}"
        memory = f"{line['clients_mib']} | {line['before_mib']} | {line['peak_mib']}"
        rows.append(f"| {line['clients']} | {shape} | {line['seconds']:.3g} | {memory} |")
    return "\n".join(rows) + "\n"


COMMANDS: dict[str, Callable[[], None]] = {
    "speed": lambda: speed(write=True),
    "ours": lambda: speed(write=False),
    "scale": scale,
    "draw": draw,
    "one": lambda: one(*map(int, sys.argv[2:])),
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1: processor time is to be that of one thread")
    COMMANDS[sys.argv[1]]()
