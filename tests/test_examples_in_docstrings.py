"""Every name that `import fedma` shows has an example in its docstring, which runs and prints what it says."""

import doctest

import pytest

import fedma
from fedma.units import find

NAMES = [name for name in fedma.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_holds(name: str) -> None:
    shown = find.units if name == "units" else getattr(fedma, name)  # `fedma.units` is a package that can be called
    found = [own for own in doctest.DocTestFinder(recurse=False).find(shown, name) if own.examples]
    assert found, f"fedma.{name} has no example"
    assert all(doctest.DocTestRunner().run(own).failed == 0 for own in found)
