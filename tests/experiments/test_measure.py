"""Owners of slots, and how clients fare."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.experiments.callback import Silent
from fedma.experiments.metrics import by_client, owners
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.tasks import Classification


def test_slots_are_counted_by_their_owners() -> None:
    """Slot 0 has all three, 1 the first and the third, 2 the second alone, 3 the third alone."""
    maps = {0: {"fc": torch.tensor([0, 1])}, 1: {"fc": torch.tensor([2, 0])}, 2: {"fc": torch.tensor([1, 3, 0])}}
    assert owners(maps) == {"fc": [2, 1, 1]}
    assert owners({}) == {}


def test_slots_of_blocks_are_each_counted_in_their_own_block() -> None:
    maps = {0: {"dim": torch.tensor([[0, 1], [0, 1]])}, 1: {"dim": torch.tensor([[1, 0], [0, 2]])}}
    assert owners(maps) == {"dim": [2, 3]}


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=4), st.integers(1, 6))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_each_unit_is_in_a_slot_once(orders: list[list[int]], width: int) -> None:
    maps = {client: {"fc": torch.tensor(order[:width])} for client, order in enumerate(orders)}
    (found,) = owners(maps).values()
    assert sum(count * slots for count, slots in enumerate(found, start=1)) == len(orders) * width
    assert sum(found) == len({slot for order in orders for slot in order[:width]})


def right(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Right ones of each class."""
    return Classification().sums(torch.nn.functional.one_hot(answers, 3).float(), (None, labels))["right"]


def test_a_client_is_judged_by_its_own_classes() -> None:
    """Of class 0 the model gets 3 of 4 right, of class 1 none of 2; class 2 is not in the test split."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    one = right(torch.tensor([0, 0, 0, 1, 0, 2]), labels)
    present = torch.bincount(labels, minlength=3)
    counts = torch.tensor([[5, 0, 0], [0, 7, 0], [3, 1, 4], [0, 0, 9]])
    assert by_client(one[None], present, counts) == pytest.approx([0.75, 0.0, 0.75 * 0.75, None])
    perfect = right(labels, labels)
    several = torch.stack([one, perfect, perfect, perfect])
    assert by_client(several, present, counts) == pytest.approx([0.75, 1.0, 1.0, None])


def test_a_client_with_the_test_splits_proportions_has_its_accuracy() -> None:
    draw = torch.Generator().manual_seed(0)
    labels, answers = (torch.randint(3, (50,), generator=draw) for _ in range(2))
    counts = torch.bincount(labels, minlength=3)
    (found,) = by_client(right(answers, labels)[None], counts, counts[None])
    assert found == pytest.approx(float((answers == labels).double().mean()))


def test_a_run_writes_them_down(tmp_path: Path) -> None:
    small = Settings(model="mlp-8", method=("fedma", "ensemble"), clients=3, alpha=1.0, local_epochs=1, limit=200)
    folder = run(small, tmp_path / "run", Silent(), sources={"alpha": "flag"})
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    found = {line["method"]: line for line in lines}
    (slots,) = found["fedma"]["owners"].values()
    assert sum(count * number for count, number in enumerate(slots, start=1)) == 3 * 8
    assert sum(slots) == found["fedma"]["widths"]["fc1"][1]
    assert all(len(line["client_accuracy"]) == 3 for line in lines)
    assert sum(found["local"]["own_accuracy"]) / 3 == pytest.approx(found["local"]["accuracy"])
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["sources"]["alpha"], facts["sources"]["model"], facts["sources"]["lr"]) == ("flag", "code", "default")
    assert facts["peak_memory"]["main"] > 10**8


def test_of_hundreds_of_clients_single_numbers_are_written_once(tmp_path: Path) -> None:
    many = Settings(
        model="mlp-8",
        method=("fedavg",),
        clients=300,
        partition="iid",
        min_samples=1,
        participation=0.01,
        rounds=2,
        local_epochs=1,
        workers=1,
    )
    text = (run(many, tmp_path / "run", Silent()) / "results.jsonl").read_text()
    first, last = (json.loads(line) for line in text.splitlines())
    assert "client_accuracy" not in first
    assert len(last["client_accuracy"]) == 300
