"""The settings of a run: one frozen dataclass, from defaults, a TOML file and the command line."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from fedma.errors import InputError

# The choices are spelt out: help and validation read them, and importing the rooms that know them takes seconds.
Method = Literal["fedavg", "fedprox", "pfnm", "fedma", "ensemble", "pooled"]
METHODS: tuple[Method, ...] = get_args(Method)
Partition = Literal["dirichlet", "dirichlet-paper", "iid", "pathological", "shards", "natural"]


@dataclass(frozen=True)
class Settings:
    """One experiment: data, federation, methods, training, matching.

    Attributes:
        data: "digits" (built in), "mnist", "cifar10", "shakespeare", a hub name such as "ylecun/mnist", or a local
            folder.
        model: a network of fedma.models (an unknown name lists them), or package.module:factory, a function that
            returns an nn.Module.
        method: what to compare, in this order.
        clients: number of clients.
        partition: how the training data are divided among the clients.
        alpha: Dirichlet concentration; the smaller, the more uneven.
        natural: the column that names each image's owner, for the natural partition (of text it is known).
        min_windows: of text: leave out speaking roles with fewer windows.
        classes_per_client: for the pathological partition.
        rounds: communication rounds of FedAvg, FedProx, FedMA (and as many times the local epochs when pooled).
        equal_bytes: give FedAvg and FedProx as many bytes as FedMA uses (at least one round), instead of `rounds`.
        participation: the part of the clients that takes part in a round of FedAvg and FedProx, drawn anew for each;
            1 for all.
        local_epochs: epochs of local training in a round.
        retrain_epochs: FedMA: epochs after each matching; by default as `local_epochs`.
        output_epochs: FedMA: epochs of the output layer when all is matched; by default 3 × `retrain_epochs`.
        output_lr: FedMA: learning rate of these; by default a tenth of `lr`.
        optimizer: "sgd" or "adam".
        lr: learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty.
        batch_size: samples in a step.
        augment: shift images by up to 4 pixels and flip half of them, at random, in training.
        proximal: FedProx's proximal term mu.
        init: clients start from "common" weights or "independent" ones; "auto": common for FedAvg, FedProx and pooled
            training, independent for the others, as in the papers.
        hyper: matching: "empirical" learns its variances; "reference" uses the FedMA authors' constants.
        gamma: matching: mass of the beta process, which governs growth; by default as `hyper` has it.
        grow: whether the global model may be wider than the clients'.
        max_growth: how many times as wide as the clients' the global model may become.
        limit: use only so many training samples, of each owner where samples have owners.
        test_limit: judge by only so many test samples, of each owner likewise.
        seed: of everything that is random.
        workers: worker processes; 0 for one for each core, or for each GPU where that is the device.
        device: where to train: "auto" (the GPU if there is one), cpu, cuda, mps.
        precision: "fp32", or "bf16": matrix products in bfloat16, faster on processors that can.
    """

    data: str = "digits"
    model: str = "cnn"
    method: tuple[Method, ...] = ("fedma",)
    clients: int = 10
    partition: Partition = "dirichlet"
    alpha: float = 0.5
    natural: str | None = None
    min_windows: int = 10_000
    classes_per_client: int = 2
    rounds: int = 1
    equal_bytes: bool = False
    participation: float = 1.0
    local_epochs: int = 5
    retrain_epochs: int | None = None
    output_epochs: int | None = None
    output_lr: float | None = None
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    augment: bool = False
    proximal: float = 0.01
    init: Literal["auto", "common", "independent"] = "auto"
    hyper: Literal["empirical", "reference"] = "empirical"
    gamma: float | None = None
    grow: bool = True
    max_growth: float = 1.5
    limit: int | None = None
    test_limit: int | None = None
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"

    def check(self) -> None:
        """Refuse settings that cannot be run.

        Raises:
            InputError: naming the setting and its range.
        """
        if not self.method:
            raise InputError(f"method is empty; known are {', '.join(METHODS)}")
        if len(set(self.method)) < len(self.method):
            raise InputError(f"method names one twice: {' '.join(self.method)}")
        for method in self.method:
            _check_choice("method", method, METHODS)
        _check_choice("init", self.init, ("auto", "common", "independent"))
        _check_choice("hyper", self.hyper, ("empirical", "reference"))
        _check_choice("precision", self.precision, ("fp32", "bf16"))
        for name in ("clients", "rounds", "local_epochs", "batch_size", "limit", "max_growth", "classes_per_client"):
            _check_range(name, getattr(self, name), least=1)
        for name in ("test_limit", "min_windows"):
            _check_range(name, getattr(self, name), least=1)
        for name in ("workers", "retrain_epochs", "output_epochs", "proximal", "weight_decay"):
            _check_range(name, getattr(self, name), least=0)
        for name in ("alpha", "lr", "output_lr", "gamma"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be positive and finite; got {value}")
        if not 0 < self.participation <= 1:
            raise InputError(f"participation must be above 0 and at most 1; got {self.participation}")
        if self.participation < 1 and (rest := set(self.method) - {"fedavg", "fedprox", "pooled"}):
            raise InputError(f"participation below 1 is for fedavg and fedprox; leave out {', '.join(sorted(rest))}")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} {value!r} is not known; known are {', '.join(known)}")


def _check_range(name: str, value: float | None, *, least: int) -> None:
    if value is not None and not value >= least:
        raise InputError(f"{name} must be at least {least}; got {value}")


def from_toml(path: Path) -> Settings:
    """Settings from a TOML file, whose keys are the fields of `Settings`, with hyphens or underscores.

    Raises:
        InputError: the file cannot be read, is not TOML, or names a setting that does not exist.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"settings file {path} is not TOML: {error}") from error
    return from_dict({key.replace("-", "_"): value for key, value in data.items()}, source=f"settings file {path}")


def from_dict(data: Mapping[str, Any], *, source: str) -> Settings:
    """Settings from plain values, checked for names and types; `source` names where they came from."""
    known = {f.name: f.default for f in fields(Settings)}
    for name, value in data.items():
        if name not in known:
            raise InputError(f"{source}: setting {name!r} does not exist; settings are {', '.join(known)}")
        wanted = _kind(known[name], name)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise InputError(f"{source}: {name} = {value!r} should be {' or '.join(t.__name__ for t in wanted)}")
    values = dict(data)
    if "method" in values:
        values["method"] = (values["method"],) if isinstance(values["method"], str) else tuple(values["method"])
    return Settings(**values)


def _kind(default: object, name: str) -> tuple[type, ...]:
    """The types that a value of a setting may have."""
    if name in ("output_lr", "gamma") or isinstance(default, float):
        return (float, int)
    if name == "natural":
        return (str,)
    if default is None:
        return (int,)
    return (str, list, tuple) if name == "method" else (type(default),)
