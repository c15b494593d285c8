"""Small hostile forwards: no group may be wrong; what is lost is counted and printed."""

import warnings
from collections import Counter

import pytest

from fedma.errors import GraphError
from fedma.units import units
from units.hostile import CASES
from units.judge import Judge


def tried(case, *, verify=True):
    """What comes of a case: its outcome, and a word more."""
    model = case.build()
    examples = case.arguments()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            judge = Judge(model, examples, tolerance=case.tolerance)
        except Exception as error:
            return "unfit", repr(error)
        try:
            graph = units(model, examples[0], **({} if verify else {"verify": False}))
        except GraphError as error:
            return "refused", str(error)
        except Exception as error:
            return "crashed", repr(error)
        verdict = judge.verdict(graph)
    lost = case.lost(graph)
    if not verdict:
        return "wrong", str(dict(verdict.wrong))
    return ("lost", str(lost)) if lost else ("right", "")


def table(outcomes):
    """Counts, and a line for each case that is not right."""
    counts = Counter(outcome for outcome, _ in outcomes.values())
    lines = [f"{outcome:8}{name}: {why[:160]}" for name, (outcome, why) in outcomes.items() if outcome != "right"]
    return "\n".join([*sorted(lines), ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))])


KINDS = sorted({case.kind for case in CASES})


def test_there_are_enough_and_each_has_a_name():
    assert len(CASES) >= 150
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong(kind, capsys):
    outcomes = {case.name: tried(case) for case in CASES if case.kind == kind}
    with capsys.disabled():
        print(f"\n{kind}:\n{table(outcomes)}")
    assert not [(name, why) for name, (outcome, why) in outcomes.items() if outcome in ("wrong", "crashed", "unfit")]


if __name__ == "__main__":
    import sys

    found = {
        f"{case.kind}.{case.name}": tried(case, verify="--no-verify" not in sys.argv)
        for case in CASES
        if not sys.argv[1:] or sys.argv[-1].startswith("-") or sys.argv[-1] in f"{case.kind}.{case.name}"
    }
    print(table(found))
