"""The assignments that a run keeps beside its models: which unit of which client is in which slot.

In a safetensors file, a tensor for each client and group, called CLIENT/GROUP; a digest of all of them finds damage.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedma.errors import CheckpointError
from fedma.experiments import checkpoint

ClientAssignments = Mapping[int, Mapping[str, Tensor]]
"""For each client, per group, own unit → slot; of a group in blocks, (blocks…, units)."""

_FORMAT = "fedma-assignments-1"


def assignments_path(folder: Path, method: str) -> Path:
    """The path in a run folder of a method's assignments."""
    return model_path(folder, method).with_suffix(".assignments.safetensors")


def model_path(folder: Path, method: str) -> Path:
    """The path in a run folder of a method's model. A colon becomes a hyphen, since some systems forbid colons."""
    return folder / "models" / f"{method.replace(':', '-')}.safetensors"


def save_assignments(folder: Path, method: str, assignments: ClientAssignments) -> None:
    """Keep a method's assignments in the run folder.

    Raises:
        OSError, SafetensorError: they cannot be written.
    """
    # Copies, as safetensors refuses tensors that share memory.
    tensors = {
        f"{client}/{group}": units.clone(memory_format=torch.contiguous_format)
        for client, maps in assignments.items()
        for group, units in maps.items()
    }
    facts = {_FORMAT: checkpoint.digest(_FORMAT, tensors)}
    checkpoint.write(assignments_path(folder, method), tensors, facts)


def load_assignments(folder: Path, method: str) -> ClientAssignments:
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
    found: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            digest = (file.metadata() or {})[_FORMAT]
        if digest != checkpoint.digest(_FORMAT, tensors):
            raise ValueError("its content is not what was written: the digest differs")
        for name, units in tensors.items():
            client, _, group = name.partition("/")
            found.setdefault(int(client), {})[group] = units.long()
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds no assignments, or is damaged ({type(error).__name__}: {error}); repeat the run"
        ) from error
    return dict(sorted(found.items()))
