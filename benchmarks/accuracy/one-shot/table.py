"""The benchmark's tables, from its result file."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedma.report.summary import mean_and_interval

BEGIN, END = "<!-- one-shot table: begin -->", "<!-- one-shot table: end -->"
SCHEMES = {"iid": "IID", "dirichlet-paper": "Dirichlet 0.5", "natural": "roles"}
Line = Mapping[str, Any]
Row = tuple[str, int, str]
"""Model, number of clients, partition."""


def write(results: Path, file: Path) -> None:
    """Put the tables between the markers of a Markdown file."""
    put(tables([json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]), file)


def put(table: str, file: Path) -> None:
    """Put a table between the markers of a Markdown file, instead of the one that is there."""
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{file} needs the lines {BEGIN} and {END}; the table goes between them")
    file.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def tables(lines: Sequence[Line]) -> str:
    """Accuracies and growth of every setting as Markdown; of equal fusions the last counts."""
    latest = {
        (line["model"], line["clients"], line["scheme"], line["seed"], line["setting"], line.get("batch_norm")): line
        for line in lines
        if "setting" in line
    }
    found: dict[Row, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in latest.values():
        label = line["model"] + (", re-estimated" if "batch_norm" in line else "")
        found[label, line["clients"], SCHEMES[line["scheme"]]][line["setting"]].append(line)
    columns = list(dict.fromkeys(setting for row in found.values() for setting in row))
    columns.sort(key=lambda name: name in ("clients_mean", "ensemble"), reverse=True)
    growing = [c for c in columns if any(line.get("growth", 1) > 1 for row in found.values() for line in row[c])]
    timed = [c for c in columns if any("seconds" in line for row in found.values() for line in row[c])]
    plain = {row: own for row, own in found.items() if "re-estimated" not in row[0]}
    missing = [name for line in lines for name in line.get("unavailable", ())]
    missing = [name for name in dict.fromkeys(missing) if name not in columns]
    return (
        "\n\n".join(
            [
                "Test accuracy in %, mean over seeds ± half-width of the 95 % t-interval:",
                _markdown(found, columns, _accuracy),
                "Parameters of the fused model, as a multiple of a client's:",
                _markdown(plain, growing, lambda lines: _mean(lines, "growth", "×{:.2f}")),
                "Processor seconds of a fusion:",
                _markdown(plain, timed, lambda lines: _mean(lines, "seconds", "{:.2f}")),
                *([f"Not in this version of the library, so not measured: {', '.join(missing)}."] if missing else []),
            ]
        )
        + "\n"
    )


def _markdown(found: Mapping[Row, Mapping[str, list[Line]]], columns: Sequence[str], cell: Callable[..., str]) -> str:
    """One line for each row; of all seeds of a setting `cell` makes the entry."""
    heads = ["clients' mean" if name == "clients_mean" else name for name in columns]
    lines = [["model", "clients", "partition", *heads], [":--", "--:", ":--", *["--:"] * len(columns)]]
    order = {model: number for number, model in enumerate(dict.fromkeys(row[0].split(",")[0] for row in found))}
    places = list(SCHEMES.values())
    for row in sorted(found, key=lambda row: (order[row[0].split(",")[0]], row[1], places.index(row[2]), row[0])):
        lines.append([row[0], str(row[1]), row[2], *(cell(found[row].get(name, [])) for name in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _accuracy(lines: Sequence[Line]) -> str:
    """`92.1 ± 1.3`; the number of seeds behind it where it is not three."""
    values = [100 * line["accuracy"] for line in lines if "accuracy" in line]
    if not values:
        return "failed" if lines else ""
    mean, interval = mean_and_interval(values)
    seeds = "" if len(values) == 3 else f" ({len(values)})"
    return f"{mean:.1f}" + ("" if interval is None else f" ± {interval:.1f}") + seeds


def _mean(lines: Sequence[Line], field: str, form: str) -> str:
    values = [line[field] for line in lines if field in line]
    return form.format(sum(values) / len(values)) if values else ""
