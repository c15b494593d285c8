"""Registries: entries by name, and objects of a user's own by `package.module:name`.

Every seam of the library keeps its entries in one `Registry`: matchers, tasks, algorithms and so on. A name stands only
in its entry. Choices, checks, messages and tables read the registry.
"""

import importlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, Protocol, TypeVar

from fedma.errors import InputError


class Named(Protocol):
    """What a registry holds: anything with a name."""

    @property
    def name(self) -> str:
        """The name in the registry."""


E = TypeVar("E", bound=Named)


class Registry(Generic[E]):
    """Entries of one kind, in the order in which they were registered.

    Args:
        kind: what an entry is, in one word, for messages: "matcher".
        adopt: makes an entry of an object that `package.module:name` names, given that text and the object. It raises
            InputError for an object that cannot be an entry.
    """

    def __init__(self, kind: str, adopt: Callable[[str, object], E]) -> None:
        self.kind = kind
        self._adopt = adopt
        self._entries: dict[str, E] = {}

    def __iter__(self) -> Iterator[E]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names."""
        return tuple(self._entries)

    def register(self, entry: E, *, replace: bool = False) -> E:
        """Add an entry.

        Args:
            entry: with a name that is not empty and has neither a colon nor a space.
            replace: whether it may take the place of a registered entry of the same name.

        Returns:
            The entry.

        Raises:
            InputError: the name is taken, or cannot be a name.
        """
        name = entry.name
        if not isinstance(name, str) or not name or ":" in name or name != "".join(name.split()):
            raise InputError(f"{self.kind} {name!r} cannot be registered; a name has neither colons nor spaces")
        if name in self._entries and not replace:
            raise InputError(f"{self.kind} {name!r} is registered already; give another name, or replace=True")
        self._entries[name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Take an entry out.

        Raises:
            InputError: no entry has this name.
        """
        if name not in self._entries:
            raise InputError(self._unknown(name))
        del self._entries[name]

    def get(self, name: object) -> E:
        """The entry of this name.

        Args:
            name: a registered name; or `package.module:name`, which is imported.

        Raises:
            InputError: no entry has this name; the message suggests the nearest one. Or the module cannot be imported,
                lacks the name, or holds something there that cannot be an entry.
        """
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        if isinstance(name, str) and ":" in name:
            return self._adopt(name, load(name, kind=self.kind))
        raise InputError(self._unknown(name))

    def _unknown(self, name: object) -> str:
        near = get_close_matches(name, self._entries, n=1) if isinstance(name, str) else []
        guess = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self._entries)
        return f"{self.kind} {name!r} is not known{guess}; known are {known}, or give package.module:name"


def load(path: str, *, kind: str) -> object:
    """What `package.module:name` names.

    Args:
        path: the module's path, a colon, and a name in the module. The name may have dots: `package.module:Class.part`.
        kind: what is looked for, in one word, for messages.

    Raises:
        InputError: the text has another form, the module cannot be imported, or it lacks the name.
    """
    module, _, name = path.partition(":")
    expected = "expected package.module:name, importable from this folder"
    if not module or not name:
        raise InputError(f"{kind} {path!r} names no module and object; {expected}")
    try:
        found: object = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever happens in a file of the user's
        raise InputError(
            f"{kind} {path!r}: {module!r} cannot be imported ({type(error).__name__}: {error}); {expected}"
        ) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise InputError(f"{kind} {path!r}: {module!r} has no {name!r}; {expected}") from error
    return found
