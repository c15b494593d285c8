"""The published results are those of today's experiments, and the pages say what the result files say."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from fedma.experiments.callback import SILENT
from fedma.experiments.reproduce import EXPERIMENTS, driver
from fedma.report import experiment_markdown, read_experiment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PUBLISHED = [
    (name, scale) for name, own in EXPERIMENTS.items() for scale in own.scales if (RESULTS / name / scale).exists()
]
pytestmark = pytest.mark.skipif(not RESULTS.exists(), reason="a source distribution has no benchmarks")


def test_there_are_results_of_every_experiment() -> None:
    assert {name for name, scale in PUBLISHED if scale == "small"} == set(EXPERIMENTS)


@pytest.mark.parametrize(("name", "scale"), PUBLISHED)
def test_nothing_of_a_published_experiment_would_be_run_again(
    name: str, scale: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path, *rest: object) -> None:
        raise AssertionError(f"{folder} would be run")

    published = RESULTS / name / scale
    folder = tmp_path / scale
    folder.mkdir()
    for kept in ("run.json", "results.jsonl"):
        shutil.copyfile(published / kept, folder / kept)
    monkeypatch.setattr(driver, "finish", run)
    driver.Reproduction(name, EXPERIMENTS[name], folder, scale, EXPERIMENTS[name].seeds, None, {}, SILENT).run()
    assert read_experiment(folder) == read_experiment(published)
    for kept in ("run.json", "table.md"):
        assert (folder / kept).read_text() == (published / kept).read_text(), kept


@pytest.mark.parametrize(("name", "scale"), PUBLISHED)
def test_the_page_has_the_tables_of_the_result_files(name: str, scale: str) -> None:
    key = name if scale == "small" else f"{name}-{scale}"
    page = (ROOT / "docs" / "experiments.md").read_text()
    (block,) = re.findall(f"<!-- reproduced: {key} -->(.*?)<!-- end -->", page, flags=re.DOTALL)
    tables = experiment_markdown(read_experiment(RESULTS / name / scale), EXPERIMENTS[name].drawing)
    assert block.strip().endswith(tables.strip())


@pytest.mark.parametrize("page", ["benchmarks/accuracy/one-shot/README.md"])
def test_one_shot_tables_are_those_of_the_result_file(page: str, tmp_path: Path) -> None:
    folder = ROOT / "benchmarks" / "accuracy" / "one-shot"
    shutil.copyfile(ROOT / page, tmp_path / "page.md")
    runpy.run_path(str(folder / "table.py"))["write"](folder / "results.jsonl", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (ROOT / page).read_text()
