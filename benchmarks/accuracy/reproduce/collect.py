"""Keep the results of reproduced experiments, and put their tables into docs/experiments.md.

    python benchmarks/accuracy/reproduce/collect.py runs/reproduce/mnist-lenet/small runs/reproduce/bias/small ...

copies run.json, results.jsonl, the tables and the figure of each into benchmarks/results/NAME/SCALE, the figure into
docs/images, and writes the tables, made anew from results.jsonl, between the experiment's markers in the page, or at
its end where there are none yet; marker and figure of another scale than small are called NAME-SCALE.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from fedma.experiments.reproduce import EXPERIMENTS
from fedma.report import experiment_markdown, read_experiment

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "experiments.md"
KEPT = ("run.json", "results.jsonl", "table.md", "table.csv", "figure.png")


def main(folders: list[Path]) -> None:
    """Collect every folder."""
    page = PAGE.read_text(encoding="utf-8")
    for folder in folders:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        name, target = facts["experiment"], ROOT / "benchmarks" / "results" / facts["experiment"] / facts["scale"]
        target.mkdir(parents=True, exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(folder / kept, target / kept)
        key = name if facts["scale"] == "small" else f"{name}-{facts['scale']}"
        shutil.copyfile(folder / "figure.png", ROOT / "docs" / "images" / f"{key}.png")
        tables = experiment_markdown(read_experiment(target), EXPERIMENTS[name].drawing)
        start, end = f"<!-- reproduced: {key} -->", "<!-- end -->"
        block = f"{start}\n\n![{EXPERIMENTS[name].title}](images/{key}.png)\n\n{tables}\n{end}"
        page, found = re.subn(f"{start}.*?{end}", lambda _, block=block: block, page, flags=re.DOTALL)
        if not found:
            page += f"\n## {EXPERIMENTS[name].title}\n\n{block}\n"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
