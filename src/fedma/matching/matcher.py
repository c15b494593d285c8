"""The choice of a matcher: its name and its settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fedma.errors import InputError
from fedma.matching.registry import DEFAULT, DEFAULT_MAX_GROWTH, MATCHERS, Entry

Function = Callable[[Sequence[Tensor], int | None], Sequence[Tensor]]
"""A matching of your own, as `fedma.matching.registry.GroupFunction` describes it."""


@dataclass(frozen=True)
class Matcher:
    """How units are matched.

    Attributes:
        name: a registered matcher, or `package.module:name`; see `fedma.matching.registry`. A matcher of whole models
            serves one-shot fusion only.
        grow: whether a group that can grow may grow.
        max_growth: the most slots of a group, as a multiple of the widest client's units, at least 1. It does not bound
            hyper="reference", whose code has no such bound; `max_slots` among the options does.
        outgoing: whether a unit's vector also holds its weights into the model's outputs. Their precisions are the
            clients' class proportions (PFNM, for networks with one hidden layer).
        recurrent: whether the matching of recurrent units is refined by their recurrent weights, within the same bound
            on growth; see `fedma.matching.recurrent.refine`.
        options: further arguments of the matcher; for the default one those of `fedma.match`.
        seed: decides the order in which clients are visited.
        function: a matching of your own, used instead of the named one.

    Raises:
        InputError: an unknown name or option, an option that this matcher does not have, a growth below 1.
    """

    name: str = DEFAULT
    grow: bool = True
    max_growth: float = DEFAULT_MAX_GROWTH
    outgoing: bool = False
    recurrent: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    function: Function | None = None

    def __post_init__(self) -> None:
        self._check_options()
        if self.recurrent and self.options.get("hyper") == "reference":
            raise InputError('recurrent: hyper="reference" matches by input weights alone; leave one of them out')
        if not self.max_growth >= 1:
            raise InputError(f"max_growth must be at least 1, the widest client's own width; got {self.max_growth}")

    @property
    def entry(self) -> Entry:
        """The registered matcher, or one made of the function."""
        return MATCHERS.get(self.name) if self.function is None else Entry.of("function", self.function)

    def check_by_steps(self) -> None:
        """Refuse a matcher that cannot match one group after the other.

        Raises:
            InputError: it matches whole models.
        """
        if not self.entry.by_steps:
            raise InputError(
                f"matcher {self.name!r} matches whole models, not one group after the other; "
                f"FedMA needs one of {', '.join(entry.name for entry in MATCHERS if entry.by_steps)}"
            )

    def most(self, width: int, *, growable: bool) -> int | None:
        """How many slots a group may have; None for any number.

        Args:
            width: the widest client's number of units.
            growable: whether the group can grow.
        """
        if not (self.grow and growable and self.entry.grows):
            return width if self.options.get("max_slots") is None else min(width, self.options["max_slots"])
        if "max_slots" in self.options:
            return self.options["max_slots"]
        if self.options.get("hyper") == "reference" or not math.isfinite(self.max_growth):
            return None
        return int(self.max_growth * width + 1e-9)

    def _check_options(self) -> None:
        """Refuse options that no matcher has, and those that this one does not have."""
        entry = self.entry
        takes = {other.name: {*other.options, *_flags(other)} for other in (*MATCHERS, entry)}
        asked = {*self.options, *(["recurrent"] if self.recurrent else [])}
        odd = sorted(asked - takes[entry.name])
        if not odd:
            return
        known = set().union(*takes.values())
        if unknown := sorted(set(odd) - known):
            raise InputError(
                f"{', '.join(unknown)}: no such option; beside those of the call itself there are "
                f"{', '.join(sorted(known))}"
            )
        others = ", ".join(repr(name) for name, own in takes.items() if own & set(odd))
        this = repr(self.name) if self.function is None else "a matching of one's own"
        raise InputError(f"{', '.join(odd)}: options of the matcher {others}, which mean nothing to {this}")


def _flags(entry: Entry) -> list[str]:
    return ["recurrent"] if entry.recurrent else []
