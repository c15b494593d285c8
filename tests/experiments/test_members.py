"""Runs whose clients come and go, have different widths, or save exchanges: equal seeds give equal results."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from fedma.algorithms import Reply
from fedma.errors import InputError
from fedma.experiments.availability import availability
from fedma.experiments.callback import ExchangeStart, Silent
from fedma.experiments.federation import assemble
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings, from_toml
from interrupting import Stop, contents

QUICK = Settings(
    model="mlp-20-10", clients=5, alpha=1.0, local_epochs=1, output_epochs=1, rounds=3, limit=250, lr=0.05, workers=1
)
HOW: dict[str, dict[str, Any]] = {
    "some": {"participation": 0.6, "newcomers": "own"},
    "come and go": {"join": ("3:2", "0:3"), "leave": ("1:2", "0:2"), "method": ("fedma", "fedavg")},
    "widths": {"widths": (1.0, 0.5), "method": ("fedma", "pfnm", "ensemble"), "init": "common"},
    "never": {"rematch": "never", "participation": 0.6},
    "drift": {"rematch": "drift"},
    "all of it": {"later": "global", "steps_per_exchange": 2},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
def test_more_workers_and_an_interruption_change_nothing(tmp_path: Path, how: dict[str, Any]) -> None:
    settings = replace(QUICK, **how)
    wanted = contents(run(settings, tmp_path / "whole", Silent()))
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "cut", Stop(result=1))
    resume(tmp_path / "cut", Silent(), workers=2)
    assert contents(tmp_path / "cut") == wanted
    lines = [json.loads(line) for line in (tmp_path / "whole" / "results.jsonl").read_text().splitlines()]
    assert all(0 <= line["accuracy"] <= 1 for line in lines)


def test_those_who_left_are_not_asked(tmp_path: Path) -> None:
    asked: dict[tuple[str, int], set[int]] = {}

    class Listens(Silent):
        def exchange(self, exchange: ExchangeStart) -> None:
            self.now = asked.setdefault((exchange.method, exchange.round), set())

        def reply(self, reply: Reply) -> None:
            self.now.add(reply.client)

    run(replace(QUICK, **HOW["come and go"]), tmp_path / "run", Listens())
    for method in ("fedma", "fedavg"):
        assert [asked[method, round_] for round_ in (1, 2, 3)] == [{0, 1, 2, 4}, {2, 3, 4}, {0, 2, 3, 4}]


@pytest.mark.parametrize(("widths", "widest"), [((0.5,), 50), ((1.0, 0.5), 100)])
def test_growth_is_counted_from_the_models_that_clients_have(
    tmp_path: Path, widths: tuple[float, ...], widest: int
) -> None:
    settings = replace(
        QUICK, widths=widths, model="mlp", method=("fedma", "ensemble"), grow=False, rounds=1, participation=1.0
    )
    written = (run(settings, tmp_path / "run", Silent()) / "results.jsonl").read_text().splitlines()
    fedma, local, ensemble = (json.loads(line) for line in written)
    assert fedma["widths"]["fc1"] == [widest, widest]
    assert ensemble["parameters"] == pytest.approx(5 * ensemble["client_parameters"])
    assert (fedma["parameters"] == fedma["client_parameters"]) == (widths == (0.5,))
    assert [line["clients"] for line in (fedma, local, ensemble)] == [5, 5, 5]


def test_clients_get_widths_in_turn() -> None:
    federation = assemble(replace(QUICK, widths=(1.0, 0.5, 0.01)))
    found = {c: federation.graph.widths_in(own) for c, own in federation.initial(common=False).items() if c < 5}
    assert [list(own.values()) for own in found.values()] == [[20, 10], [10, 5], [1, 1], [20, 10], [10, 5]]
    common = federation.initial(common=True)
    assert common[1]["fc1.weight"].equal(common[0]["fc1.weight"][:10])


def test_presence_reads_turns() -> None:
    found = availability(("3:2", "0:4"), ("1:2", "0:3"), clients=5, rounds=9)
    here = [[c for c in range(5) if c not in found or any(r in span for span in found[c])] for r in range(5)]
    assert here == [[0, 1, 2, 4], [0, 2, 3, 4], [2, 3, 4], [0, 2, 3, 4], [0, 2, 3, 4]]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"join": ("3",)}, "join '3' cannot be read"),
        ({"join": ("5:1",)}, "clients from 0 to 4"),
        ({"leave": ("1:0",)}, "rounds from 1"),
        ({"leave": ("-1:2",)}, "leave '-1:2'"),
        ({"join": ("1:2", "1:3")}, "client 1 would join twice"),
        ({"leave": tuple(f"{c}:2" for c in range(5))}, "no client is there in round 2"),
        ({"join": tuple(f"{c}:2" for c in range(5))}, "no client is there in round 1"),
        ({"join": ("1:2", "3:9")}, "3:9 is for a round that will not be; rounds is"),
        (
            {"leave": tuple(f"{c}:9" for c in range(5)), "equal_bytes": True, "method": ("fedma", "fedavg")},
            "no client is there in round 9",
        ),
        ({"join": ("1:2",), "method": ("fedma", "ensemble")}, "ensemble takes all clients"),
        ({"widths": ()}, "widths"),
        ({"widths": (1.0, 0.0)}, "widths"),
        ({"widths": (2.0,)}, "widths"),
        ({"widths": (0.5,), "method": ("fedma", "fedavg")}, "fedavg cannot average different widths"),
        ({"rematch": "sometimes"}, "rematch"),
        ({"later": "none"}, "later"),
        ({"newcomers": "none"}, "newcomers"),
        ({"steps_per_exchange": 0}, "steps_per_exchange"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(tmp_path: Path, how: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(replace(QUICK, **how), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_lists_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('join = ["3:2"]\nleave = "1:2"\nwidths = [1, 0.5]\n')
    assert from_toml(file) == Settings(join=("3:2",), leave=("1:2",), widths=(1, 0.5))
    file.write_text("join = [3]\n")
    with pytest.raises(InputError, match="join"):
        from_toml(file)


class Shuffled(nn.Module):
    """Grouped convolutions with the channels shuffled between: units in blocks that can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=4)
        self.out = nn.Linear(8 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x)).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.out(torch.relu(self.second(x)).flatten(1))


def test_units_in_blocks_can_be_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shuffled")
    module.net = Shuffled  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shuffled", module)
    how = replace(QUICK, model="shuffled:net", widths=(1.0, 0.6), method=("fedma", "pfnm"))
    run(how, tmp_path / "run", Silent())
    federation = assemble(how)
    graph, started = federation.graph, federation.initial(common=False)
    for client, narrow in federation.widths.items():
        assert graph.widths_in(started[client]) == {**graph.widths, **narrow}
