"""The figure of losses along the line between two models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedma.errors import InputError
from fedma.optional_dependencies import imported


def draw_interpolation(points: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss against the place on the line, before and after matching.

    Args:
        points: from `fedma.experiments.merge.barrier`: share, loss_before, loss_after.
        path: the picture; its ending says the kind.

    Raises:
        InputError: it cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    figure = imported("matplotlib.figure", extra="report").Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    share = [point["share"] for point in points]
    axes.plot(share, [point["loss_before"] for point in points], "o--", color="#777777", label="as they are")
    axes.plot(share, [point["loss_after"] for point in points], "o-", color="#0072b2", label="matched")
    axes.set(xlabel="from the first model (0) to the second (1)", ylabel="test loss (nats)", ylim=(0, None))
    axes.legend(frameon=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
