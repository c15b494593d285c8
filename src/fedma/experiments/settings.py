"""The settings of a run: one frozen dataclass, from defaults, a TOML file and the command line."""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from fedma.errors import InputError
from fedma.experiments.availability import availability
from fedma.experiments.kinds import kind
from fedma.matching.registry import DEFAULT_MAX_GROWTH
from fedma.methods import METHODS, Method

MethodName = str
"""The name of a registered method, or `package.module:name` of a `fedma.methods.Method` of your own."""

# Choices are spelt out for help and checks: to import the rooms that know them takes seconds.
Partition = Literal["dirichlet", "dirichlet-paper", "iid", "pathological", "shards", "natural"]

NO_LIMIT = 10**6
"""More rounds than a budget of bytes ever allows."""


@dataclass(frozen=True)
class Settings:
    """One experiment: data, federation, methods, training, matching.

    Attributes:
        data: "digits" (built in), "mnist", "cifar10", "shakespeare", a data set of the Hugging Face hub such as
            "ylecun/mnist" (or "owner/name:config"), a local folder, or a CSV or parquet file.
        inputs: the columns of the inputs: one, or several of numbers. The default is the column of images, or all
            columns of numbers.
        label: the column of the labels. The default is the one of class labels, or the one named "label".
        model: a network of fedma.models (an unknown name lists them), or package.module:factory, a function that
            returns an nn.Module.
        task: what is trained: "classification", another task of fedma.tasks (an unknown name lists them), or
            package.module:name, a class of your own with the methods loss and judge.
        metrics: further metrics of torchmetrics, by short names such as f1 and auroc, or names of its classes.
        method: the methods to compare, in this order: names, or package.module:name, a fedma.methods.Method of your
            own.
        clients: number of clients.
        partition: how the training data are divided among the clients.
        alpha: Dirichlet concentration. A smaller value gives a more uneven partition.
        natural: for the natural partition: the column that names the owner of each image. Text has its own.
        min_windows: for text: leave out speaking roles that have fewer windows.
        classes_per_client: for the pathological and the shards partition.
        min_samples: the fewest samples that a client may hold. Lower it for thousands of clients.
        rounds: communication rounds. Pooled training takes as many times the local epochs.
        equal_bytes: give FedAvg, FedProx, FedAvgM and FedAdam as many bytes as FedMA uses (at least one round). This
            replaces `rounds`.
        participation: the share of clients that take part in a round, drawn anew for each round (not PFNM, ensemble).
        join: CLIENT:ROUND. The client joins in this round. Clients count from 0, rounds from 1.
        leave: CLIENT:ROUND. The client is away from this round on. It may join again.
        widths: widths of the clients' models, as factors of the model's widths, given to the clients in turn: 1 0.5
            halves every second client (FedMA, PFNM, ensemble). If no wide client takes part in a round of FedMA, the
            global model becomes narrower and stays so.
        local_epochs: epochs of local training in a round, also parts of one: 0.5.
        local_steps: steps of local training in a round, of one batch each, instead of `local_epochs`.
        retrain_epochs: FedMA: epochs after each matching. The default is `local_epochs`.
        output_epochs: FedMA: epochs of the output layer after the last matching. The default is 3 × `retrain_epochs`.
        output_lr: FedMA: learning rate of these epochs. The default is a tenth of `lr`.
        newcomers: FedMA: where a client that joins late starts: from a part of the "global" model, or from its "own".
        later: FedMA: where clients start later rounds: from their "own" part of the global model, or from all of the
            "global" model.
        rematch: FedMA: when to match in later rounds. "always": in every round. "never": a round is one exchange that
            averages slots over their owners. "drift": from the first layer on whose units have left their slots.
        steps_per_exchange: FedMA: how many layers to match in one exchange.
        fitted: FedMA, one round only: clients fit their next layers to the averaged units before they train them.
        optimizer: "sgd", "adam" or "adamw".
        lr: learning rate.
        lr_schedule: the learning rate within local training: "constant", or down to zero by "cosine" or "linear".
        warmup: the share of local training over which the learning rate rises to `lr`.
        round_schedule: the learning rate over rounds: "constant", or down to zero by "cosine".
        round_factor: multiply the learning rate by this after every round.
        clip_gradients: the largest Euclidean norm of the gradient in a step.
        momentum: momentum of SGD.
        weight_decay: L2 penalty; with adamw it shrinks weights apart from the gradient.
        freeze: names of parameters or modules that are not trained; `*` stands for any letters. Pooled training and
            all clients leave them as they start.
        batch_size: samples in one step of training.
        augment: train on images that are shifted by up to 4 pixels, half of them flipped, at random.
        proximal: FedProx: weight mu of the proximal term.
        server_lr: FedAvgM and FedAdam: learning rate of the server. The defaults are 1 and 0.01.
        server_momentum: FedAvgM and FedAdam: momentum of the server.
        init: the clients' initial weights: "common", "independent", or "auto": common for averaging methods and pooled
            training, independent for the others, as in the papers.
        hyper: matching: "empirical" learns the variances; "reference" uses the constants of the FedMA authors.
        gamma: matching: mass of the beta process. A larger value lets the global model grow more.
        recurrent: matching: match units of an LSTM or GRU also by their recurrent weights, not only by their input
            weights (not with hyper=reference).
        grow: let the global model become wider than the clients' models.
        max_growth: the most that the global model may grow, as a factor of the clients' widths (not with
            hyper=reference).
        robust: how to average clients, or in FedMA the owners of a slot: "mean", "trimmed" (each value without its
            highest and its lowest fifth), or "median".
        clip: scale updates (FedMA: weights) down to this many times the median client's size.
        dp_clip: local privacy: the largest change that a client's message may make to what the server knew.
        dp_noise: local privacy: standard deviation of the noise in a client's message, as a multiple of `dp_clip`.
        dp_delta: local privacy: the delta at which the privacy loss epsilon is reported.
        dp_secure: local privacy: draw the noise from the operating system, not from the seed. Runs then differ.
        limit: use this many training samples at most; of each owner, if samples have owners.
        test_limit: use this many test samples at most; of each owner, if samples have owners.
        seed: the seed of all random numbers.
        workers: number of worker processes. 0 takes one for each core, or for each GPU if these train.
        device: where to train: "auto" (the GPU if there is one), cpu, cuda or mps.
        precision: "fp32", or "bf16": matrix products in bfloat16, which some processors compute faster.

    Raises:
        InputError: a value of another kind than the setting's. A path is taken for `data`, one value for several, and
            scalars of NumPy and PyTorch for numbers.
    """

    data: str = "digits"
    inputs: tuple[str, ...] = ()
    label: str | None = None
    model: str = "cnn"
    task: str = "classification"
    metrics: tuple[str, ...] = ()
    method: tuple[MethodName, ...] = ("fedma",)
    clients: int = 10
    partition: Partition = "dirichlet"
    alpha: float = 0.5
    natural: str | None = None
    min_windows: int = 10_000
    classes_per_client: int = 2
    min_samples: int = 10
    rounds: int = 1
    equal_bytes: bool = False
    participation: float = 1.0
    join: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    widths: tuple[float, ...] = (1.0,)
    local_epochs: float = 5
    local_steps: int | None = None
    retrain_epochs: float | None = None
    output_epochs: float | None = None
    output_lr: float | None = None
    newcomers: Literal["global", "own"] = "global"
    later: Literal["own", "global"] = "own"
    rematch: Literal["always", "drift", "never"] = "always"
    steps_per_exchange: int = 1
    fitted: bool = False
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    lr_schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = 0.0
    round_schedule: Literal["constant", "cosine"] = "constant"
    round_factor: float = 1.0
    clip_gradients: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    freeze: tuple[str, ...] = ()
    batch_size: int = 32
    augment: bool = False
    proximal: float = 0.01
    server_lr: float | None = None
    server_momentum: float = 0.9
    init: Literal["auto", "common", "independent"] = "auto"
    hyper: Literal["empirical", "reference"] = "empirical"
    gamma: float | None = None
    recurrent: bool = False
    grow: bool = True
    max_growth: float = DEFAULT_MAX_GROWTH
    robust: Literal["mean", "trimmed", "median"] = "mean"
    clip: float | None = None
    dp_clip: float | None = None
    dp_noise: float = 0.0
    dp_delta: float = 1e-5
    dp_secure: bool = False
    limit: int | None = None
    test_limit: int | None = None
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        for name, own in _KINDS.items():
            object.__setattr__(self, name, own.taken(name, getattr(self, name), source="settings"))

    def check(self) -> None:
        """Refuse settings that cannot be run.

        Raises:
            InputError: naming the setting and its range.
        """
        if not self.method:
            raise InputError(f"method is empty; known are {', '.join(METHODS.names)}")
        if len(set(self.method)) < len(self.method):
            raise InputError(f"method names one twice: {' '.join(self.method)}")
        for method in self.method:
            METHODS.get(method)
        _check_choice("init", self.init, ("auto", "common", "independent"))
        _check_choice("hyper", self.hyper, ("empirical", "reference"))
        _check_choice("newcomers", self.newcomers, ("global", "own"))
        _check_choice("later", self.later, ("own", "global"))
        _check_choice("rematch", self.rematch, ("always", "drift", "never"))
        _check_choice("precision", self.precision, ("fp32", "bf16"))
        for name in ("clients", "rounds", "local_steps", "batch_size", "limit", "max_growth"):
            _check_range(name, getattr(self, name), least=1)
        for name in ("steps_per_exchange", "classes_per_client", "min_samples", "test_limit", "min_windows"):
            _check_range(name, getattr(self, name), least=1)
        for name in ("workers", "retrain_epochs", "output_epochs", "proximal", "weight_decay"):
            _check_range(name, getattr(self, name), least=0)
        _check_choice("robust", self.robust, ("mean", "trimmed", "median"))
        for name in (
            "alpha",
            "local_epochs",
            "lr",
            "output_lr",
            "clip_gradients",
            "gamma",
            "server_lr",
            "clip",
            "dp_clip",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be positive and finite; got {value}")
        if not 0 <= self.server_momentum < 1:
            raise InputError(f"server_momentum must be at least 0 and below 1; got {self.server_momentum}")
        if self.robust != "mean" or self.clip is not None:
            self._check_methods("robust, clip: {} knows neither; leave it out", lambda method: method.robust)
        if self.round_schedule != "constant" and self.equal_bytes:
            raise InputError(
                "round_schedule: under equal_bytes it is not known how many rounds there will be; leave one of them out"
            )
        self._check_matching()
        self._check_privacy()
        self._check_members()

    def _check_matching(self) -> None:
        if self.fitted and self.rounds > 1:
            raise InputError(f"fitted is for a single round of FedMA; rounds is {self.rounds}, so leave fitted out")
        if self.recurrent and self.hyper == "reference":
            raise InputError("recurrent: hyper=reference matches by input weights alone; leave one of them out")

    def _check_members(self) -> None:
        if not 0 < self.participation <= 1:
            raise InputError(f"participation must be above 0 and at most 1; got {self.participation}")
        if not self.widths or not all(0 < factor <= 1 for factor in self.widths):
            raise InputError(f"widths must be parts of the model's widths, above 0 and at most 1; got {self.widths}")
        rounds = NO_LIMIT if self.equal_bytes else self.rounds
        availability(self.join, self.leave, clients=self.clients, rounds=rounds)
        late = [entry for entry in (*self.join, *self.leave) if int(entry.partition(":")[2]) > rounds]
        if late:
            raise InputError(f"join, leave: {late[0]} is for a round that will not be; rounds is {self.rounds}")
        if self.participation < 1 or self.join or self.leave:
            text = "participation, join, leave: {} takes all clients once; leave it out"
            self._check_methods(text, lambda method: not method.one_shot)
        if min(self.widths) < 1:
            text = "widths below 1: {} cannot average different widths; leave it out"
            self._check_methods(text, lambda method: method.any_widths)

    def _check_methods(self, text: str, can: Callable[[Method], bool]) -> None:
        """Refuse methods that cannot do what other settings ask for; `text` has a gap for their names."""
        if odd := sorted(name for name in self.method if not can(METHODS.get(name))):
            raise InputError(text.format(", ".join(odd)))

    def _check_privacy(self) -> None:
        if not 0 <= self.dp_noise < math.inf:
            raise InputError(f"dp_noise must be at least 0 and finite; got {self.dp_noise}")
        if not 0 < self.dp_delta < 1:
            raise InputError(f"dp_delta must be between 0 and 1; got {self.dp_delta}")
        if self.dp_clip is None and (self.dp_noise or self.dp_secure):
            raise InputError("dp_noise and dp_secure are for clipped messages: give dp_clip too")


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
        raise InputError(f"settings file {path}: {error.strerror}; name a TOML file of settings") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"settings file {path} is not TOML: {error}") from error
    values = {key.replace("-", "_"): value for key, value in data.items()}
    if len(values) < len(data):
        twice = sorted(key for key in data if "-" in key and key.replace("-", "_") in data)
        raise InputError(f"settings file {path} has {', '.join(twice)} twice, with hyphens and with underscores")
    return from_dict(values, source=f"settings file {path}")


def from_dict(data: Mapping[str, Any], *, source: str) -> Settings:
    """Settings from plain values, checked for names and types; `source` names their origin, for messages."""
    for name in data:
        if name not in _KINDS:
            raise InputError(f"{source}: setting {name!r} does not exist; settings are {', '.join(_KINDS)}")
    return Settings(**{name: _KINDS[name].taken(name, value, source=source) for name, value in data.items()})


_KINDS = {name: kind(hint) for name, hint in get_type_hints(Settings).items()}
"""The kind of each setting."""
