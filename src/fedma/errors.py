"""The errors of the library.

FedmaError
├── InputError       what the user gave cannot be used (the command line answers with exit code 2)
│   ├── CheckpointError a checkpoint cannot be written, read, or used here
│   └── MissingExtra an optional dependency is needed and not installed
├── GraphError       a unit graph cannot be derived, or does not fit the model it is used with
├── MatchingError    clients' units cannot be matched (not finite, empty, of different features)
├── ReplyError       a client's reply was refused (names, shapes, dtypes, values)
└── EngineError      an engine could not deliver (a worker process died)

Warnings: PinnedWarning, for a part of a model that is left in place because it was not understood; SlowWarning, for
what works, but slower than it could; CheckpointWarning, for a damaged checkpoint with an older one used instead;
DivergedWarning, for a method of several that ended before its last round.

Every message says what was found, where, and what to do about it.
"""


class FedmaError(Exception):
    """Base of every error that the library raises on purpose."""


class InputError(FedmaError, ValueError):
    """What the user gave cannot be used."""


class CheckpointError(InputError):
    """A checkpoint cannot be written, read, or used here."""


class MissingExtra(InputError, ImportError):
    """An optional dependency is needed and not installed."""


class GraphError(FedmaError, ValueError):
    """A unit graph cannot be derived, or does not fit the model it is used with."""


class MatchingError(FedmaError, ValueError):
    """Clients' units cannot be matched: not finite, empty, or of different features."""


class ReplyError(FedmaError, ValueError):
    """A client's reply was refused."""


class EngineError(FedmaError):
    """An engine could not deliver."""


class PinnedWarning(UserWarning):
    """A part of a model was left in place because it was not understood."""


class SlowWarning(UserWarning):
    """Something works, but slower than it could."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, and an older one was used instead."""


class DivergedWarning(UserWarning):
    """A method ended before its last round, and the other methods go on."""
