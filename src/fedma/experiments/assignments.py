"""The assignments that a run keeps beside its models: which unit of which client is in which slot."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fedma.errors import CheckpointError
from fedma.experiments import checkpoint

Assignments = Mapping[int, Mapping[str, Tensor]]
"""For each client, per group, own unit → slot; of a group in blocks, (blocks…, units)."""


def assignments_path(folder: Path, method: str) -> Path:
    """Where a run folder has those of a method."""
    return folder / "models" / f"{method}.assignments.safetensors"


def save_assignments(folder: Path, method: str, assignments: Assignments) -> None:
    """Keep a method's assignments in the run folder.

    Raises:
        OSError, SafetensorError: they cannot be written.
    """
    checkpoint.write(assignments_path(folder, method), {"assignments": assignments})


def load_assignments(folder: Path, method: str) -> Assignments:
    """A method's assignments.

    Raises:
        CheckpointError: there are none, or the file is damaged.
    """
    path = assignments_path(folder, method)
    if not path.exists():
        raise CheckpointError(
            f"{path} is not there: runs of earlier versions kept no assignments, and an interrupted one has none yet; "
            "repeat it, or go on with it"
        )
    try:
        clients = checkpoint.read(path)["assignments"]
        return {int(client): {group: own.long() for group, own in maps.items()} for client, maps in clients.items()}
    except (CheckpointError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"assignments cannot be read: {error}; repeat the run") from error
