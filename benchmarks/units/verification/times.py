"""What verification costs: processor seconds of `units` with and without it, one JSON line per model.

python benchmarks/units/verification/times.py [zoo] [configs] [chains] [loops] [large] [timm] [PART-OF-A-NAME ...]
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
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


def lines(chosen: list[str]) -> Iterator[dict[str, Any]]:
    """One line for every model of these sets, or with these names."""
    wanted = [name for name in chosen if name not in SETS]
    for name, models in SETS.items():
        if chosen and name not in chosen and not wanted:
            continue
        if chosen and name not in chosen and name == "timm" and not any("timm" in own for own in wanted):
            continue
        for own, make in models().items():
            if name not in chosen and wanted and not any(part in own for part in wanted):
                continue
            with global_generator(0):
                model, example = make()
            plain, *_ = timed(model, example, verify=False)
            verified, groups, growable = timed(model, example, verify=True)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            yield {
                "set": name,
                "model": own,
                "plain_s": round(plain, 2),
                "verified_s": round(verified, 2),
                "groups": groups,
                "growable": growable,
                "peak_mb": peak,
            }


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    timed(*chain(2), verify=True)
    for line in lines(sys.argv[1:]):
        print(json.dumps(line), flush=True)
