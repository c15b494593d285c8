"""The methods of federated learning that a run can compare: one entry each, which everything else reads.

Choices on the command line, checks of settings, labels and styles of figures, and tables of the documentation read
`METHODS`. An entry names its factory and does not import it, so that reading the registry costs nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

from fedma.errors import InputError
from fedma.registry import Registry, load


@dataclass(frozen=True)
class Method:
    """A method by name.

    Attributes:
        name: in settings and results, in small letters.
        label: how it is written in tables and figures.
        summary: what it does, in one line.
        source: where it was published.
        factory: `package.module:name` of a function. It takes a `fedma.experiments.method_factories.MethodInputs` and
            returns the `fedma.algorithms.Algorithm`.
        matches: whether it matches units; the unit groups are then checked before work starts.
        averages: whether it averages models coordinate by coordinate.
        one_shot: whether it takes all clients once, in a single round.
        common_start: whether clients start from common weights if the settings do not say.
        any_widths: whether clients can have different widths.
        robust: whether it knows robust averages and clipping.
        centralised: whether it trains on all data in one place and sends nothing.
        sets_budget: whether `equal_bytes` gives the averaging methods as many bytes as this one uses.
        ensemble: whether it keeps the clients' models; their mean scores are then reported too.
        style: colour, marker and dashes of its line in figures.
    """

    name: str
    label: str
    summary: str
    source: str
    factory: str
    matches: bool = False
    averages: bool = False
    one_shot: bool = False
    common_start: bool = False
    any_widths: bool = False
    robust: bool = True
    centralised: bool = False
    sets_budget: bool = False
    ensemble: bool = False
    style: tuple[str, str, str] | None = None

    def make(self) -> Any:
        """The factory itself.

        Raises:
            InputError: it cannot be imported.
        """
        return load(self.factory, kind="method")


def _adopt(path: str, found: object) -> Method:
    """A user's method. Its name is the path, by which settings and run folders name it."""
    if not isinstance(found, Method):
        raise InputError(f"method {path!r} is a {type(found).__name__}; it must be a fedma.methods.Method")
    return replace(found, name=path)


METHODS: Registry[Method] = Registry("method", _adopt)
"""All methods, in the order in which help and figures list them. `METHODS.register` adds one of your own."""

_HOME = "fedma.experiments.method_factories"

for _entry in (
    Method(
        "fedma",
        "FedMA",
        "match and average one layer at a time; clients train the rest in between",
        "Wang et al., Federated Learning with Matched Averaging, 2020",
        f"{_HOME}:fedma",
        matches=True,
        any_widths=True,
        sets_budget=True,
        style=("#D55E00", "o", "-"),
    ),
    Method(
        "fedavg",
        "FedAvg",
        "average all weights coordinate by coordinate",
        "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017",
        f"{_HOME}:fedavg",
        averages=True,
        common_start=True,
        style=("#0072B2", "s", "-"),
    ),
    Method(
        "fedprox",
        "FedProx",
        "FedAvg; a penalty holds clients near the global model",
        "Li et al., Federated Optimization in Heterogeneous Networks, 2020",
        f"{_HOME}:fedprox",
        averages=True,
        common_start=True,
        style=("#56B4E9", "^", "-."),
    ),
    Method(
        "fedavgm",
        "FedAvgM",
        "FedAvg with momentum at the server",
        "Hsu et al., Measuring the Effects of Non-Identical Data Distribution, 2019",
        f"{_HOME}:fedavgm",
        averages=True,
        common_start=True,
        style=("#332288", "v", "-"),
    ),
    Method(
        "fedadam",
        "FedAdam",
        "FedAvg with Adam at the server",
        "Reddi et al., Adaptive Federated Optimization, 2021",
        f"{_HOME}:fedadam",
        averages=True,
        common_start=True,
        style=("#B8860B", "X", "-"),
    ),
    Method(
        "pfnm",
        "PFNM",
        "match and average the clients' models once, without retraining",
        "Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks, 2019",
        f"{_HOME}:pfnm",
        matches=True,
        one_shot=True,
        any_widths=True,
        robust=False,
        style=("#009E73", "D", "-"),
    ),
    Method(
        "ensemble",
        "Ensemble",
        "keep the clients' models and average their predictions",
        "",
        f"{_HOME}:ensemble",
        one_shot=True,
        any_widths=True,
        ensemble=True,
        style=("#CC79A7", "P", "-"),
    ),
    Method(
        "pooled",
        "Pooled",
        "train one model on all data in one place: the bound that federated methods aim at",
        "",
        f"{_HOME}:fedavg",
        common_start=True,
        any_widths=True,
        centralised=True,
        style=("#000000", "", "--"),
    ),
):
    METHODS.register(_entry)

LOCAL = Method("local", "Local", "the clients' own models: their mean scores", "", "", style=("#767676", "", ":"))
"""No method of its own: what `ensemble` reports of its members."""

LEVELS = ("ensemble", "pooled", LOCAL.name)
"""Methods whose curve over rounds means nothing: figures draw their last result as a level."""


def known(name: str) -> Method | None:
    """The entry of a method of results, which another version may have written; None if it is not known here."""
    if name == LOCAL.name:
        return LOCAL
    return METHODS.get(name) if name in METHODS else None


def label(name: str) -> str | None:
    """How a method of results is written; None if it is not known here."""
    entry = known(name)
    return None if entry is None else entry.label
