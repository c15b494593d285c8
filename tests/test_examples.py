"""Every example is short, runs, and says what it should."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(path, capsys, monkeypatch, tmp_path):
    assert len(path.read_text().splitlines()) < 100
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_a_network_and_data_of_ones_own_take_twenty_lines():
    (path,) = (path for path in EXAMPLES if path.stem == "own_model_and_data")
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 20
