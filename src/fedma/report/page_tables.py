"""The texts and tables of a report's page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from fedma.methods import label
from fedma.report.report_figure import ReportFigure
from fedma.report.results import Run
from fedma.report.summary import measure_of, plain, rows, run_groups, shortened
from fedma.report.tables import WORDS, cells, explained

Row = Sequence[str]

MOST_ROWS = 200
"""The most rows of a table on the page; the .csv files have all."""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading.

    Attributes:
        caption: what it shows.
        head: headings of the columns.
        bodies: groups of rows, each with a heading or none.
        words: which columns hold words, to be set to the left; the others hold numbers.
        beneath: what its numbers mean.
    """

    caption: str
    head: Row
    bodies: Sequence[tuple[str, Sequence[Row]]]
    words: frozenset[int] = frozenset({0})
    beneath: str = ""


def outcome(runs: Sequence[Run]) -> tuple[str, str]:
    """What the runs have in common, as a title, and what came out, in a sentence."""
    common = [
        shortened(runs[0].settings[name])
        for name in ("data", "model", "partition")
        if name in runs[0].settings and len({json.dumps(run.settings.get(name)) for run in runs}) == 1
    ]
    sending = [row for row in rows(runs) if row["megabytes_up"] + row["megabytes_down"] > 0]
    if not sending:
        return " · ".join(common) or "Report", "None of the methods communicates."
    measure = measure_of(runs)
    best = min(sending, key=lambda row: measure.rank(row[measure.name]))
    preposition = "of" if measure.percent else "on"
    what = "is the most accurate" if measure.percent else f"has the best {measure.words.removeprefix('test ')}"
    where = f" ({shortened(best['settings'], 120)})" if best["settings"] else ""
    return " · ".join(common) or "Report", (
        f"Of the methods that communicate, {shortened(best['method'])}{where} {what}: "
        f"{measure.text(best[measure.name], best['interval'])} {preposition} the test split after "
        f"{best['megabytes_up'] + best['megabytes_down']:,.2f} MB."
    )


def facts(runs: Sequence[Run]) -> Mapping[str, str]:
    """What the runs are about, in a few numbers."""
    found = {
        "runs": [str(len(runs))],
        "seeds": [str(len({json.dumps(run.settings.get("seed")) for run in runs}))],
        "clients": [shortened(run.settings["clients"]) for run in runs if "clients" in run.settings],
        "training samples": [f"{run.data['train']:,}" for run in runs if "train" in run.data],
        "test samples": [f"{run.data['test']:,}" for run in runs if "test" in run.data],
        "classes": [f"{len(run.data['classes']):,}" for run in runs if "classes" in run.data],
    }
    return {name: ", ".join(dict.fromkeys(values)) for name, values in found.items() if values}


def costs(runs: Sequence[Run]) -> Table:
    """The last results: accuracy, and what it took."""
    found = rows(runs)
    texts = cells(found)
    names = [name for name in texts[0] if name != "settings"]
    lines = [
        (row["settings"], [*(text[name] for name in names), _seconds(row["seconds"])])
        for row, text in zip(found, texts[1:], strict=True)
    ]
    bodies = [(label, [line for _, line in group]) for label, group in groupby(lines, key=lambda line: line[0])]
    head = [*(texts[0][name] for name in names), "time"]
    words = frozenset(number for number, name in enumerate(names) if name in WORDS)
    return Table("After the last round of each method", head, bodies, words, " ".join(explained(found)))


def further(runs: Sequence[Run]) -> Table | None:
    """What else models were judged by, at the end of each method, means over seeds; None where there is nothing."""
    main = measure_of(runs)
    directions = {name: better for run in runs for name, better in run.metrics.items() if name != main.name}
    lines = []
    for group in run_groups(runs):
        for method, series in group.series.items():
            last = [evaluations[-1] for evaluations in series]
            values = {name: [own for line in last if (own := line.value(name)) is not None] for name in directions}
            means = [f"{sum(own) / len(own):.4g}" if own else "—" for own in values.values()]
            lines.append((group.label, [shortened(label(method) or method), *means]))
    if not any(line.metrics for run in runs for line in run.evaluations):
        return None
    head = ["method", *(f"{name.replace('_', ' ')} ({better} is better)" for name, better in directions.items())]
    bodies = [(title, [line for _, line in own]) for title, own in groupby(lines, key=lambda line: line[0])]
    return Table("Further metrics on the test split", head, bodies)


def by_class(runs: Sequence[Run]) -> Table | None:
    """The accuracy on each class, of each method's last model in its first run; None where it was not recorded."""
    found = {method: matrix for run in reversed(runs) for method, matrix in run.confusion.items()}
    names: Sequence[str] = next((run.data["classes"] for run in runs if run.confusion and "classes" in run.data), [])
    if not found:
        return None
    size = max(map(len, found.values()))
    names = names if len(names) == size else [str(number) for number in range(size)]
    lines = [
        [shortened(name), f"{_present(found, number):,}", *(_right(matrix, number) for matrix in found.values())]
        for number, name in enumerate(names[:MOST_ROWS])
    ]
    head = ["class", "test samples", *(shortened(label(method) or method) for method in found)]
    return Table("Accuracy on each class", head, [("", lines)], beneath=_FIRST if len(runs) > 1 else "")


_FIRST = "Of several runs it is the first that has the method."


def _present(found: Mapping[str, Sequence[Sequence[int]]], number: int) -> int:
    return max(sum(matrix[number]) for matrix in found.values() if number < len(matrix))


def _right(matrix: Sequence[Sequence[int]], number: int) -> str:
    total = sum(matrix[number]) if number < len(matrix) else 0
    return f"{100 * matrix[number][number] / total:.1f} %" if total else "—"


def settings(runs: Sequence[Run]) -> tuple[Table | None, Table]:
    """The settings that were given or differ, if there are any, and all of them; one column per group of runs."""
    found = run_groups(runs)
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    head = ["setting", *(group.label or "value" for group in found)]
    lines = {name: [name, *(_values(name, group.runs) for group in found)] for name in names}
    words = frozenset(range(len(head)))
    every = Table("All settings", head, [("", list(lines.values()))], words)
    wanted = [line for name, line in lines.items() if _given(name, runs)]
    caption = "Given, or not the same in all runs" if any(run.sources for run in runs) else "Not the same in all runs"
    return Table(caption, head, [("", wanted)], words) if wanted else None, every


def faults(runs: Sequence[Run]) -> Table | None:
    """Every fault that a run recorded; None where there was none."""
    found = [(run, event) for run in runs for event in run.events if event["event"] == "fault"]
    if not found:
        return None
    names = list(dict.fromkeys(name for _, event in found for name in event if name != "event"))[:10]
    lines = [[run.name, *(shortened(event.get(name, ""), 120) for name in names)] for run, event in found]
    beneath = "" if len(lines) <= MOST_ROWS else f"{len(lines) - MOST_ROWS:,} more are in results.jsonl."
    head = ["run", *(name.replace("_", " ") for name in names)]
    return Table(f"{len(lines):,} in all", head, [("", lines[:MOST_ROWS])], frozenset(range(len(head))), beneath)


def durations(runs: Sequence[Run]) -> Table:
    """When each run began, how long it took, and how much memory."""
    head = ["run", "seed", "started", "took", "memory", "largest worker"]
    lines = []
    for run in runs:
        record, memory = run.record, run.record.get("peak_memory", {})
        lines.append(
            [
                run.name,
                shortened(run.settings.get("seed", "")),
                shortened(record.get("started") or "not recorded").replace("T", " ")[:16],
                _took(record.get("started"), record.get("finished")),
                _memory(memory.get("main")),
                _memory(memory.get("largest_child")),
            ]
        )
    beneath = "Memory is the most that was resident at a time: of the main process, and of the largest of its children."
    return Table("Each run", head, [("", lines)], frozenset({0, 2}), beneath)


def origins(runs: Sequence[Run]) -> Table:
    """How each run was made: the command, the machine, the versions of packages."""
    lines = []
    for run in runs:
        machine = run.record.get("machine", {})
        command = machine.get("command")
        versions = {"fedma": run.record.get("fedma", "?"), **run.record.get("versions", {})}
        lines.append(
            [
                run.name,
                f"fedma {plain(command)}" if command else "from Python",
                shortened(machine.get("system", ""), 80),
                ", ".join(f"{name} {shortened(version, 20)}" for name, version in list(versions.items())[:12]),
            ]
        )
    head = ["run", "command", "system", "versions"]
    return Table("Commands, machines and versions", head, [("", lines)], frozenset(range(len(head))))


def numbers(picture: ReportFigure) -> Table:
    """A figure's numbers."""
    names = list(picture.numbers[0])
    lines = [[_number(row[name]) for name in names] for row in picture.numbers[:MOST_ROWS]]
    more = len(picture.numbers) - MOST_ROWS
    beneath = f"{more:,} more rows are in {picture.name}.csv." if more > 0 else ""
    words = frozenset(number for number, name in enumerate(names) if isinstance(picture.numbers[0][name], str))
    shown = [number for number, _ in enumerate(names) if any(line[number] for line in lines)]
    return Table(
        f"The numbers of “{picture.title}”",
        [names[number].replace("_", " ") for number in shown],
        [("", [[line[number] for number in shown] for line in lines])],
        frozenset(place for place, number in enumerate(shown) if number in words),
        beneath,
    )


def _values(name: str, runs: Sequence[Run]) -> str:
    """A setting's values in these runs, each with its source where that is known."""
    found: dict[str, list[str]] = {}
    for run in runs:
        if name in run.settings:
            found.setdefault(plain(run.settings[name]), []).append(shortened(run.sources.get(name, "")))
    told = {value: ", ".join(dict.fromkeys(source for source in own if source)) for value, own in found.items()}
    return " / ".join(f"{value} ({source})" if source else value for value, source in told.items()) or "—"


def _given(name: str, runs: Sequence[Run]) -> bool:
    """Whether somebody chose a setting, or it is not the same in all runs."""
    chosen = any(run.sources.get(name, "default") != "default" for run in runs)
    return chosen or len({json.dumps(run.settings.get(name)) for run in runs}) > 1


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else shortened(value, 80)


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _took(started: str | None, finished: str | None) -> str:
    if not finished:
        return "not finished"
    try:
        return _seconds((datetime.fromisoformat(finished) - datetime.fromisoformat(str(started))).total_seconds())
    except (ValueError, TypeError):
        return "not recorded"


def _memory(size: int | None) -> str:
    return "not recorded" if size is None else f"{size / 1e6:,.0f} MB" if size else "none"
