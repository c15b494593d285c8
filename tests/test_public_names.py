"""The public names are there, sorted, and loaded only when used."""

import subprocess
import sys

import fedma


def test_names_are_sorted_and_exist() -> None:
    assert fedma.__all__ == sorted(fedma.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in fedma.__all__:
        assert getattr(fedma, name) is not None


def test_names_are_callable_where_promised() -> None:
    assert callable(fedma.units)
    assert callable(fedma.match)
    assert callable(fedma.fuse)


def test_importing_fedma_does_not_import_torch() -> None:
    code = "import sys, fedma; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
