"""What verification costs: processor seconds of `units` with and without it, one JSON line per model.

python benchmarks/units/verification/times.py [SET ...] [PART OF A MODEL'S NAME ...]

Sets: zoo, configs, chains, loops, wide, large, timm; the public models need the environment that `make zoo` makes.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedma.seeds import global_generator
from fedma.units import units

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks" / "units" / "zoo")]

Model = tuple[nn.Module, Any]
CONFIGS = "Bert DistilBert GPT2 GPTNeo T5 Bart Llama Mistral Mixtral Mamba ViT Swin"
TIMM = "res2net50_14w_8s sequencer2d_s efficientvit_m0 nf_resnet26 dm_nfnet_f0 res2net50_26w_4s"


def chain(layers: int, width: int = 32) -> Model:
    """Linear layers with ReLU between them."""
    layered = (module for _ in range(layers) for module in (nn.Linear(width, width), nn.ReLU()))
    return nn.Sequential(*layered, nn.Linear(width, 3)), torch.randn(2, width)


class Loop(nn.Module):
    """An LSTM cell in a loop of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.out(state[0])


class Dense(nn.Module):
    """Layers that each read all that was made before them."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4 + 4 * k, 4) for k in range(layers))
        self.out = nn.Linear(4 + 4 * layers, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.tanh(layer(x))], 1)
        return self.out(x)


class Shifted(nn.Module):
    """Units that are added to themselves, one place further on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.out(h + torch.cat([h[:, 1:], h[:, :1]], 1))


class Single(nn.Module):
    """Units that are taken apart, one by one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, width), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(sum(torch.tanh(part) for part in self.first(x).split(1, -1)))


def gpt2() -> Model:
    """GPT-2 small, its numbers drawn at random."""
    import images

    images.with_torchvision()
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config()), torch.randint(0, 50257, (1, 8))


def zoo() -> dict[str, Callable[[], Model]]:
    """The small models of the tests."""
    from units.zoo_unusual import ZOO

    return dict(ZOO)


def public(collection: str, names: str) -> dict[str, Callable[[], Model]]:
    """Models of the zoo of public ones."""
    import run

    return {f"{collection}/{name}": lambda name=name: run.built(f"{collection}/{name}") for name in names.split()}


def configs() -> dict[str, Callable[[], Model]]:
    """Small configurations of public language models."""
    import language

    wanted = tuple(f"{name}:" for name in CONFIGS.split())
    return public("transformers", " ".join(name for name in language.NAMES if name.startswith(wanted)))


SETS: dict[str, Callable[[], dict[str, Callable[[], Model]]]] = {
    "zoo": zoo,
    "configs": configs,
    "chains": lambda: {f"chain of {n}": lambda n=n: chain(n) for n in (500, 1000, 2000)},
    "loops": lambda: {f"loop of {n}": lambda n=n: (Loop(), torch.randn(2, n, 8)) for n in (400, 800, 1600)},
    "wide": lambda: {
        "400 concatenations": lambda: (Dense(400), torch.randn(2, 4)),
        "512 shifted": lambda: (Shifted(512), torch.randn(2, 4)),
        "400 single": lambda: (Single(400), torch.randn(2, 4)),
    },
    "large": lambda: {"GPT-2 small": gpt2},
    "timm": lambda: public("timm", TIMM),
}


def timed(model: nn.Module, example: Any, *, verify: bool) -> tuple[float, int, int]:
    """Processor seconds, groups found, groups that can grow."""
    start = time.process_time()
    graph = units(model, example, verify=verify)
    return time.process_time() - start, len(graph.groups), sum(group.growable for group in graph.groups.values())


def line(name: str, make: Callable[[], Model]) -> dict[str, Any]:
    """What one model costs."""
    with global_generator(0):
        model, example = make()
    plain, *_ = timed(model, example, verify=False)
    verified, groups, growable = timed(model, example, verify=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    times = {"plain_s": round(plain, 2), "verified_s": round(verified, 2)}
    return {"model": name, **times, "groups": groups, "growable": growable, "peak_mb": peak}


def main(chosen: list[str]) -> None:
    """Print the lines of all sets, or of these sets and models."""
    everything = not set(chosen) - set(SETS)
    for name in [name for name in SETS if name in chosen] or SETS:
        for own, make in SETS[name]().items():
            if everything or any(part in own for part in chosen if part not in SETS):
                print(json.dumps({"set": name, **line(own, make)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    timed(*chain(2), verify=True)
    main(sys.argv[1:])
