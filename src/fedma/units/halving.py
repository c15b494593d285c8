"""Which of many things fail, found by testing many at once."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

Test = Callable[[Sequence[str]], str]
"""What goes wrong with some things together; empty if nothing does."""
SAMPLE = 4
"""How many things of one kind must fail before all of that kind count as failing."""


def failing(names: Iterable[str], test: Test) -> dict[str, str]:
    """The things that fail a test, with what goes wrong. All others pass it together.

    Things of one kind usually fail together: names that differ only in numbers, as the layers of a deep model. So the
    number of tests depends on the number of kinds, not of things.
    """
    search = _Search(test)
    kinds = [list(alike) for _, alike in groupby(sorted(names, key=_kind), key=_kind)]
    search.settle(kinds)
    return search.wrong


def _kind(name: str) -> str:
    return re.sub(r"\d+", "#", name)


class _Search:
    """Things that passed so far, and things that failed, with what goes wrong."""

    def __init__(self, test: Test) -> None:
        self.test = test
        self.passed: list[str] = []
        self.wrong: dict[str, str] = {}

    def settle(self, kinds: Sequence[Sequence[str]]) -> None:
        """Decide about some things, kind by kind, together with those that passed."""
        names = [name for alike in kinds for name in alike]
        why = self.test([*self.passed, *names]) if names else ""
        if not why:
            self.passed += names
        elif len(names) == 1:
            self.wrong[names[0]] = why
        elif len(kinds) > 1:
            self._halve(kinds)
        elif len(names) <= 2 * SAMPLE or not self._all_like_some(names):
            self._halve([[name] for name in names if name not in self.wrong and name not in self.passed])

    def _halve(self, kinds: Sequence[Sequence[str]]) -> None:
        half = len(kinds) // 2
        for part in (kinds[:half], kinds[half:]):
            self.settle(part)

    def _all_like_some(self, names: Sequence[str]) -> bool:
        """Whether a sample of these (first, last and between) fail one by one. Then all are taken to fail."""
        some = [names[k * (len(names) - 1) // (SAMPLE - 1)] for k in range(SAMPLE)]
        for name in some:
            self.settle([[name]])
            if name not in self.wrong:
                return False
        why = f"{self.wrong[some[0]]}; the same holds for {some[0]}, which is like it"
        self.wrong |= {name: why for name in names if name not in some}
        return True
