"""The matchers by name: what each does, what it needs, and who published it.

A matcher is a function of one of three kinds.

`group`: it matches the units of one group, so it serves FedMA's steps and one-shot fusion. See `GroupFunction`.

`model`: it matches all groups of whole models at once, at a fixed width, so it serves one-shot fusion only. See
`ModelFunction`.

`coupling`: it spreads the units of whole models over those of the first model, so no unit is assigned to one slot. See
`CouplingFunction`.

This module imports no library of numbers: the command line reads it for its help.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args

from fedma.errors import InputError
from fedma.registry import Registry, load

if TYPE_CHECKING:
    from torch import Tensor

    from fedma.units import UnitGraph, Weights
    from fedma.units.layout import Widths

MatcherKind = Literal["group", "model", "coupling"]
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "bbp"
"""The matcher where none is named."""


class GroupFunction(Protocol):
    """Matches the units of one group."""

    def __call__(self, rows: "Sequence[Tensor]", most: int | None, /, **options: Any) -> "Sequence[Tensor]":
        """The slot of every unit of every client.

        Args:
            rows: units × features of each client; the features are the weights that make a unit.
            most: how many slots there may be; None for any number. It is at least the widest client's number of units.
            options: those that the entry names. An option `generator` is a torch.Generator drawn from the seed.

        Returns:
            For each client a LongTensor (units). No client may use a slot twice. Slots are numbered from 0 without
            gaps.
        """


class ModelFunction(Protocol):
    """Matches all groups of whole models."""

    def __call__(
        self,
        models: "Sequence[Weights]",
        graph: "UnitGraph",
        /,
        *,
        widths: "Sequence[Widths]",
        seed: int,
        **options: Any,
    ) -> "Mapping[str, Sequence[Tensor]]":
        """The slot of every unit of every group and client.

        Args:
            models: each client's tensors.
            graph: the models' unit graph.
            widths: each client's units per group.
            seed: decides what is random.
            options: those that the entry names.

        Returns:
            For each group and client a LongTensor (units), or (blocks…, units) with blocks in the global order. The
            rules of `GroupFunction` hold in every block.
        """


class CouplingFunction(Protocol):
    """Brings whole models to the units of the first one."""

    def __call__(self, models: "Sequence[Weights]", graph: "UnitGraph", /, **options: Any) -> "list[Weights]":
        """Each model's tensors at the first model's widths, ready to be averaged.

        Args:
            models: each client's tensors.
            graph: the models' unit graph.
            options: `widths` and `seed`, as for `ModelFunction`, and those that the entry names.
        """


@dataclass(frozen=True)
class Entry:
    """A matcher.

    Attributes:
        name: the name by which `fuse`, `Matcher` and the command line take it.
        function: what matches, or where it is: `package.module:name`, imported when first needed.
        summary: what it does, in one line.
        source: the paper; empty for none.
        kind: "group", "model" or "coupling"; see this module.
        grows: whether it may use more slots than the widest client has units.
        moves: whether it moves units at all; False for plain averaging.
        symmetric: whether the order of the clients is irrelevant to the fused model.
        recurrent: whether its matching of recurrent units can be refined by their recurrent weights.
        options: the keyword arguments that users may pass through `fuse(..., **options)`.
    """

    name: str
    function: Callable[..., Any] | str
    summary: str = ""
    source: str = ""
    kind: MatcherKind = "group"
    grows: bool = True
    moves: bool = True
    symmetric: bool = False
    recurrent: bool = False
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(MatcherKind):
            raise InputError(
                f"matcher {self.name!r}: kind is {self.kind!r}; it must be one of {', '.join(get_args(MatcherKind))}"
            )

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The function itself."""
        if not isinstance(self.function, str):
            return self.function
        found: Any = load(self.function, kind="matcher")
        return found

    @property
    def by_steps(self) -> bool:
        """Whether it matches one group after the other, as FedMA's steps need it."""
        return self.kind == "group"

    @property
    def random(self) -> bool:
        """Whether it draws random numbers: other seeds then give other matchings."""
        return not self.by_steps or "generator" in self.options

    @property
    def assigns(self) -> bool:
        """Whether every unit goes to one slot, so that there are assignments."""
        return self.kind != "coupling"

    @classmethod
    def of(cls, name: str, found: object) -> "Entry":
        """An entry for an object of a user's own: an `Entry`, or a function that matches one group.

        Raises:
            InputError: it is neither.
        """
        if isinstance(found, Entry):
            return found
        if not callable(found) or isinstance(found, type):
            raise InputError(
                f"matcher {name!r} is {type(found).__name__}; give a function of the units × features of each client, "
                "or a fedma.matching.registry.Entry"
            )
        return cls(name, found, options=_keywords(found))


MATCHERS = Registry("matcher", Entry.of)
"""All matchers by name."""


def register(
    name: str,
    *,
    summary: str = "",
    source: str = "",
    kind: MatcherKind = "group",
    grows: bool = True,
    moves: bool = True,
    symmetric: bool = False,
    replace: bool = False,
) -> Callable[[F], F]:
    """Register a matcher of your own; for use as a decorator.

    Its keyword-only arguments become options of `fuse`. An argument `generator` receives a torch.Generator that is
    drawn from the seed.

    Args:
        name: the name by which it is then taken wherever a matcher is named.
        summary, source, kind, grows, moves, symmetric: as in `Entry`.
        replace: whether it may take the place of a matcher of this name.

    Raises:
        InputError: the name is taken, or cannot be a name; an unknown kind.

    Example:
        >>> import torch
        >>> import fedma
        >>> from fedma.matching import register
        >>> @register("as-they-come", summary="every unit stays where it is", grows=False)
        ... def as_they_come(rows, most):
        ...     return [torch.arange(len(own)) for own in rows]
        >>> layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)]
        >>> model = torch.nn.Sequential(*layers)
        >>> fedma.fuse([model, model], torch.zeros(1, 4), matcher="as-they-come").widths
        {'0': 8}
    """

    def add(function: F) -> F:
        options = _keywords(function, kind)
        entry = Entry(name, function, summary, source, kind, grows, moves, symmetric, options=options)
        MATCHERS.register(entry, replace=replace)
        return function

    return add


def _keywords(function: Callable[..., Any], kind: MatcherKind = "group") -> tuple[str, ...]:
    """The options of a user's function: its keyword-only arguments, but for those that every call passes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions of C have no signature
        return ()
    passed = set() if kind == "group" else {"widths", "seed"}
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in passed)


for _entry in (
    Entry(
        DEFAULT,
        "fedma.matching.bbp.bbp_map:assignments",
        "Bayesian nonparametric matching, group by group; each model's next layer is fitted to the fused units",
        "Wang et al. 2020",
        recurrent=True,
        options=(
            *("mu0", "sigma", "sigma0", "gamma", "hyper", "sweeps", "orders", "init_order", "max_slots", "restarts"),
            *("generator", "on_bad"),
        ),
    ),
    Entry(
        "rebasin",
        "fedma.matching.whole_model.git_rebasin:rebasin",
        "coordinate ascent over clients and groups by all tensors, each client against the sum of the others",
        "Ainsworth et al. 2023",
        "model",
        grows=False,
    ),
    Entry(
        "c2m3",
        "fedma.matching.whole_model.c2m3:c2m3",
        "cycle-consistent Frank–Wolfe over all clients and groups at once; clients of one width",
        "Crisostomi et al. 2024",
        "model",
        grows=False,
    ),
    Entry(
        "ot",
        "fedma.matching.whole_model.optimal_transport:transported",
        "optimal transport to the units of the first model; needs the extra `ot`",
        "Singh & Jaggi 2020",
        "coupling",
        grows=False,
    ),
    Entry(
        "identity",
        "fedma.matching.assignment:same_number",
        "every unit stays where it is: plain averaging; clients of one width",
        grows=False,
        moves=False,
        symmetric=True,
    ),
):
    MATCHERS.register(_entry)
