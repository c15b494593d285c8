"""A virtual environment for each simulator, for their dependencies contradict each other."""

import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
NUMPY = "numpy==2.4.6"
PACKAGES = {
    "flower": ("flwr[simulation]==1.41.0",),
    "pfl": ("pfl==0.6.0",),
    "fluke": ("fluke-fl==0.8.1",),
    # It declares Python 3.12 and runs on 3.11.
    "blazefl": ("blazefl==2.0.1", "tqdm", "--ignore-requires-python"),
}
OWN = ("ours", "bare", "plain")
"""These run in the environment of the benchmark itself, which fedma is installed in."""


def python(name: str, folder: Path) -> Path:
    """The interpreter that a simulator runs on."""
    return Path(sys.executable) if name in OWN else folder / name / "bin" / "python"


def make(folder: Path) -> None:
    """Those that are not there. PyTorch goes first, and is held: a simulator that asks for another is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    held = folder / "constraints.txt"
    held.write_text(f"{TORCH}\n{NUMPY}\n")
    for name, packages in PACKAGES.items():
        done = folder / name / "packages.txt"
        if done.exists():
            continue
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = [python(name, folder), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", TORCH, NUMPY], check=True)
        subprocess.run([*pip, "install", "--quiet", "-c", held, *packages], check=True)
        done.write_text(subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout)
        print(f"{name}: {folder / name}")
