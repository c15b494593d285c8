"""What the names of a model's tensors tell: whether it was wrapped when they were read or saved."""

from collections import Counter
from collections.abc import Collection

WRAPPERS = {
    "module": "DataParallel, DistributedDataParallel and AveragedModel",
    "_orig_mod": "torch.compile",
    "model": "a LightningModule",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_forward_module": "Lightning's Fabric",
    "state_dict": "a checkpoint that holds more than weights",
}
"""Words in names, and what puts them there."""
COUNTER = "num_batches_tracked"
"""The last name of a tensor that nothing needs."""


def prefix(names: Collection[str], known: Collection[str]) -> str:
    """The words before the names of a model that is wrapped, dot included; empty where they are not all there.

    Args:
        names: of the model that may be wrapped; it may hold more than the model.
        known: of the model itself.
    """
    asked = {name for name in known if not name.endswith(COUNTER)}
    ends = Counter(name[:at] for name in names for at in _dots(name) if name[at:] in asked)
    found = [words for words, count in ends.items() if count >= len(asked) > 0]
    return min(found, key=len, default="")


def _dots(name: str) -> list[int]:
    """The places in a name behind a dot."""
    return [place + 1 for place, letter in enumerate(name) if letter == "."]


def inner(names: Collection[str], known: Collection[str]) -> str:
    """The wrapper's word in the midst of names, which are the known ones without it; empty where there is none."""
    return next((word for word in WRAPPERS if _without(word, names) >= set(known) - set(names) != set()), "")


def _without(word: str, names: Collection[str]) -> set[str]:
    return {".".join(part for part in name.split(".") if part != word) for name in names}


def wrapped(names: Collection[str], known: Collection[str], *, whose: str) -> str:
    """What wrapped a model, as a clause; empty where its names do not tell.

    Args:
        names: of the model that may be wrapped.
        known: of the model itself.
        whose: the subject of the clause, such as "its names".
    """
    if words := prefix(names, known):
        kinds = [WRAPPERS[word] for word in words.split(".") if word in WRAPPERS]
        return f"{whose} begin with {words!r}{_as(kinds)}"
    word = inner(names, known)
    return f"{whose} hold {word!r}{_as([WRAPPERS[word]])}" if word else ""


def _as(kinds: Collection[str]) -> str:
    return f", as under {' and '.join(kinds)}" if kinds else ""
