"""Tables and figures of experiments, from made-up results."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fedma.errors import InputError
from fedma.report import (
    Ends,
    LearningCurves,
    Measured,
    draw_experiment,
    experiment_markdown,
    read_experiment,
    write_experiment_csv,
)
from fedma.report.results import evaluation
from report.made import line


def course(name: str, method: str, *accuracies: float, seed: int = 0, mb: int = 5, **place: Any) -> Measured:
    """Rounds of these accuracies, `mb` megabytes each."""
    rounds = [
        evaluation(line(method, r, own, bytes_up=r * mb * 10**6, bytes_down=0), "made")
        for r, own in enumerate(accuracies, start=1)
    ]
    return Measured(name, place.get("x"), seed, place.get("tuning", False), tuple(rounds))


RESULTS = [
    course("FedMA", "fedma", 0.1, seed=1000, x="lr 1", tuning=True),
    course("FedMA", "fedma", 0.2, seed=1000, x="lr 2", tuning=True),
    course("FedMA", "fedma", 0.80, 0.90, mb=8),
    course("FedMA", "fedma", 0.70, 0.96, mb=8, seed=1),
    course("FedAvg", "fedavg", 0.50, 0.70, 0.90, 0.85),
    course("FedAvg", "fedavg", 0.50, 0.60, 0.70, 0.97, seed=1),
    course("Pooled", "pooled", 0.98, mb=0),
    course("Pooled", "pooled", 0.98, mb=0, seed=1),
]


def cells(text: str, first: str) -> list[list[str]]:
    """The rows of all tables that begin with this word."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    return [row[1:] for row in rows if row[0] == first]


def test_a_course_tells_last_and_best_and_what_the_best_costs() -> None:
    text = experiment_markdown(RESULTS, LearningCurves())
    ends, needs = cells(text, "FedAvg")
    assert ends[0].startswith("91.00 ± ")
    assert ends[1].startswith("93.50 ± ")
    assert ends[2:] == ["4", "20.0", "20", "×1.08"]
    # Seed 0: FedMA's 90 % at 16 MB, FedAvg's at 15 MB; seed 1: FedMA never has 97 %.
    assert needs[1:] == ["17.5", "16.0", "1.07", "1 of 2"]
    assert cells(text, "Pooled")[0][0] == "98.00 ± 0.00"
    assert len(cells(text, "Pooled")) == 1
    tuned = cells(text, "FedMA")[1:]
    assert tuned == [["lr 1", "10.00", ""], ["lr 2", "20.00", "chosen"]]


def test_one_seed_has_no_interval_and_a_line_alone_no_rival() -> None:
    text = experiment_markdown([RESULTS[2]], LearningCurves())
    assert cells(text, "FedMA") == [["90.00", "90.00", "2", "16.0", "10", "×1.08"]]
    assert "what FedMA needs" not in text
    assert "±" not in text


def test_ends_are_lines_by_x_numbers_in_order_and_levels_in_every_column() -> None:
    results = [
        course("FedMA", "fedma", 0.5, 0.6, x=16),
        course("FedMA", "fedma", 0.5, 0.7, x=2),
        course("All data", "pooled", 0.9),
    ]
    text = experiment_markdown(results, Ends("clients"))
    assert "| 2 | 16 |" in text
    assert cells(text, "FedMA") == [["70.00", "60.00"]]
    assert cells(text, "All data") == [["90.00", "90.00"]]
    assert cells(experiment_markdown(results, Ends("clients", value="growth")), "FedMA") == [["1.08", "1.08"]]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    lines = [entry for own in RESULTS for entry in own.to_lines()]
    (tmp_path / "results.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in lines))
    found = read_experiment(tmp_path)
    assert [(own.line, own.x, own.seed, own.tuning) for own in found] == [
        (own.line, own.x, own.seed, own.tuning) for own in RESULTS
    ]
    assert [json.dumps(own.to_lines()) for own in found] == [json.dumps(own.to_lines()) for own in RESULTS]


def test_what_is_no_experiment_is_named(tmp_path: Path) -> None:
    for text in (None, "{", '{"method": "fedma"}\n', '{"line": "a", "x": null, "seed": 0, "tuning": false}\n'):
        if text is not None:
            (tmp_path / "results.jsonl").write_text(text)
        with pytest.raises(InputError, match=r"results\.jsonl"):
            read_experiment(tmp_path)


def test_the_csv_has_every_run(tmp_path: Path) -> None:
    write_experiment_csv(RESULTS, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(RESULTS)
    assert (rows[4]["line"], rows[4]["best_accuracy"], rows[4]["accuracy"]) == ("FedAvg", "0.9", "0.85")


@pytest.mark.parametrize(
    ("results", "drawing"),
    [
        (RESULTS, LearningCurves()),
        ([course(f"alpha {a}", "fedma", 0.5, x=x) for a in (1, 2) for x in (2, 4)], Ends("clients", value="growth")),
        ([course("FedMA", "fedma", 0.5, x="by domain"), course("All", "pooled", 0.9)], Ends("split")),
    ],
)
def test_figures_are_drawn(tmp_path: Path, results: list[Measured], drawing: LearningCurves | Ends) -> None:
    draw_experiment(results, drawing, "Title", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
