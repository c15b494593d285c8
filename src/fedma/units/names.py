"""Recognises by the names of its tensors that a model was wrapped (by DataParallel, say)."""

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
"""Words in names, and the wrapper that adds each."""
COUNTER = "num_batches_tracked"
"""The last part of the name of a tensor that no computation needs."""


def prefix(names: Collection[str], known: Collection[str]) -> str:
    """The prefix of a wrapped model's names, with its dot; empty if some known name is missing.

    Args:
        names: the names in the possibly wrapped model, which may hold more tensors.
        known: the names in the model itself.
    """
    asked = {name for name in known if not name.endswith(COUNTER)}
    ends = Counter(name[:at] for name in names for at in _dots(name) if name[at:] in asked)
    found = [words for words, count in ends.items() if count >= len(asked) > 0]
    return min(found, key=len, default="")


def _dots(name: str) -> list[int]:
    """The positions after each dot in a name."""
    return [place + 1 for place, letter in enumerate(name) if letter == "."]


def inner(names: Collection[str], known: Collection[str]) -> str:
    """The wrapper's word inside the names, which without it are the known names; empty if there is none."""
    return next((word for word in WRAPPERS if _without(word, names) >= set(known) - set(names) != set()), "")


def _without(word: str, names: Collection[str]) -> set[str]:
    return {".".join(part for part in name.split(".") if part != word) for name in names}


def wrapped(names: Collection[str], known: Collection[str], *, whose: str) -> str:
    """A clause that says what wrapped a model; empty if its names do not show it.

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
