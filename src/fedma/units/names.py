"""What the names of a model's tensors tell: how it was wrapped when it was saved."""

from collections import Counter
from collections.abc import Collection

WRAPPERS = {
    "module": "DataParallel, DistributedDataParallel or AveragedModel",
    "_orig_mod": "torch.compile",
    "model": "a LightningModule",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_forward_module": "Fabric",
    "state_dict": "a checkpoint that holds more than weights",
}
"""First words of names, and what puts them there."""
AVERAGED = "n_averaged"
"""The tensor that AveragedModel adds to those of the model."""
COUNTER = "num_batches_tracked"
"""The last name of a tensor that models run without."""


def prefix(names: Collection[str], known: Collection[str]) -> str:
    """The words that stand before all the known names, dot included; empty where they do not.

    Args:
        names: those of a model that may be wrapped.
        known: those of the model as it is.
    """
    asked = {name for name in known if not name.endswith(COUNTER)}
    ends = Counter(name[:at] for name in names for at in _dots(name) if name[at:] in asked)
    found = [words for words, count in ends.items() if count >= len(asked) > 0]
    return min(found, key=len, default="")


def _dots(name: str) -> list[int]:
    """The places in a name behind a dot."""
    return [place + 1 for place, letter in enumerate(name) if letter == "."]


def hint(names: Collection[str], known: Collection[str], *, whose: str, others: str) -> str:
    """Advice where one set of names is the other behind a prefix; empty where it is not.

    Args:
        names: those of one model.
        known: those of the other.
        whose: what to call the first one, such as "model 1"; `others` the second.
    """
    words = prefix(names, known)
    if words:
        return _advice(words, names, whose)
    words = prefix(known, names)
    return _advice(words, known, others) if words else ""


def _advice(words: str, names: Collection[str], whose: str) -> str:
    path = words.removesuffix(".")
    wrappers = [WRAPPERS[word] for word in path.split(".") if word in WRAPPERS]
    if AVERAGED in names:
        wrappers = ["AveragedModel (stochastic weight averaging)", *wrappers[1:]]
    by = f", as {' and '.join(wrappers)} names them" if wrappers else ""
    return f"the names of {whose} begin with {words!r}{by}; give its part {path!r}"
