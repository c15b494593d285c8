"""What is imported when: nothing that takes long before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = {"torch._dynamo", "torch._inductor", "sympy", "networkx"}
PLOTS = {"matplotlib", "seaborn"}
DATA = {"datasets", "flwr_datasets", "pandas", "pyarrow", "sklearn"}
MATHS = {"torch", "numpy", "scipy"}

TRAINING = """
import sys
import fedma.training.training_loop as _
from fedma.cli import main

class Begun(BaseException): pass

def begun(*_):
    raise Begun

sys.modules["fedma.training.training_loop"]._Step.__call__ = begun
try:
    main("run --model cnn --workers 1 --quiet --out {folder}".split())
except Begun:
    print("begun")
"""


def imported(code: str) -> tuple[str, set[str]]:
    """What a process prints that runs this, and the modules that it has imported by then."""
    code += "\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    said, _, modules = done.stdout.rstrip("\n").rpartition("\n")
    return said, set(modules.split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"], ["--version"]])
def test_help_needs_no_library_of_numbers(arguments: list[str]) -> None:
    ask = f"import sys, contextlib, fedma.cli\nwith contextlib.suppress(SystemExit): fedma.cli.main({arguments})"
    said, modules = imported(ask)
    assert "fedma" in said
    assert not modules & (MATHS | DATA | PLOTS | COMPILER)


def test_a_run_begins_to_train_before_plots_compilers_and_solvers_are_imported(tmp_path: Path) -> None:
    said, modules = imported(TRAINING.format(folder=tmp_path / "run"))
    assert said.strip() == "begun"
    assert "datasets" in modules
    assert not modules & (PLOTS | COMPILER | {"sklearn", "scipy"})


def test_the_plots_of_flwr_datasets_are_there_for_who_wants_them() -> None:
    code = """
import sys
import torch
from fedma.data import Split, partition
partition(Split(torch.zeros(40, 1), torch.arange(40) % 2), 2, min_samples=1, alpha=100.0)
import flwr_datasets
print(flwr_datasets.__name__, "seaborn" in sys.modules)
from flwr_datasets.visualization import plot_label_distributions
print(callable(plot_label_distributions))
"""
    said, modules = imported(code)
    assert said.split() == ["flwr_datasets", "False", "True"]
    assert modules >= PLOTS
