"""The tables in README.md."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from works import WORKS

NAMES = {
    "ours": "**fedma**",
    "ours bf16": "fedma, bf16",
    "bare": "best loop by hand",
    "plain": "plain loop",
    "flower": "Flower",
    "pfl": "pfl-research",
    "fluke": "fluke",
    "blazefl": "blazefl",
}
START, END = "<!-- times -->\n", "<!-- end of times -->"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(readme: Path, results: Path) -> None:
    """Each work's table between the marks."""
    lines = read(results)
    text = "\n".join(table(work.title, [line for line in lines if line["work"] == work.name]) for work in WORKS)
    head, rest = readme.read_text().split(START)
    readme.write_text(head + START + text + END + rest.split(END)[1])


def table(title: str, lines: list[dict[str, Any]]) -> str:
    """One work: its entrants from the fastest to the slowest."""
    if not lines:
        return f"### {title}\n\nnot run\n"
    rows = [
        f"### {title}",
        "",
        "| | start | first round | a later round | against fedma | processor time | memory, MiB | accuracy | loss |",
        "|---|" + "---|" * 8,
    ]
    by_name = {name: [line for line in lines if line["entrant"] == name] for name in NAMES}
    found = {name: own for name, own in by_name.items() if own}
    ours = median(map(later, found["ours"])) if "ours" in found else float("nan")
    for name in sorted(found, key=lambda name: median(map(later, found[name]))):
        own = found[name]
        times = sorted(map(later, own))
        spread = f"{median(times):.2f} ({times[0]:.2f} to {times[-1]:.2f})"
        cells = [
            f"{median(line['start_s'] for line in own):.1f}",
            f"{median(line['round_s'][0] for line in own):.2f}",
            spread,
            f"{median(times) / ours:.2f}",
            f"{median(median(line['cpu_s'][1:]) for line in own):.2f}",
            f"{median(line['peak_mib'] for line in own):.0f}",
            f"{median(line['final_accuracy'] for line in own):.4f}",
            f"{median(line['final_loss'] for line in own):.4f}",
        ]
        rows.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def later(line: dict[str, Any]) -> float:
    """Seconds of a round after the first."""
    return median(line["round_s"][1:])
