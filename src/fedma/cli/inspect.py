"""`fedma inspect`: what the units of a run's global model are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tyro.conf import Positional

from fedma.cli.preflight import check_figures, check_writable
from fedma.cli.text_table import show, table_lines
from fedma.errors import InputError

if TYPE_CHECKING:
    from fedma.experiments.inspection import Inspection, Slot

Shown = Mapping[str, "Sequence[Slot]"]
"""Per group, the slots that are shown."""


@dataclass(frozen=True)
class Inspect:
    """Show the units of a run's global model: the clients that own each, and the test samples that excite it most.

    Attributes:
        folder: the folder of a run of FedMA or PFNM.
        method: a method that matches units. The default is the first of them that was run.
        group: show only this unit group. An unknown name lists them.
        slots: show this many slots of each group. The .csv file has all.
        images: show this many test images (for text: windows) for each slot.
        out: the folder of the .csv file and the figures. The default is slots/ in the run folder.
    """

    folder: Positional[Path]
    method: str | None = None
    group: str | None = None
    slots: int = 8
    images: int = 8
    out: Path | None = None

    def run(self) -> None:
        """Measure, write, tell."""
        for name, value, most in (("slots", self.slots, 200), ("images", self.images, 40)):
            if not 1 <= value <= most:
                raise InputError(f"--{name} must be from 1 to {most}; got {value}")
        check_figures()
        from fedma.experiments.inspection import inspect

        if self.out:
            check_writable(self.out)
        out = self.out or self.folder / "slots"
        found = inspect(self.folder, method=self.method, samples=self.images)
        groups = list(found.owners) if self.group is None else [self.group]
        shown = {group: found.of(group)[: self.slots] for group in groups}
        try:
            files = _written(found, shown, out)
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror}; name another folder with --out") from error
        show([*_owned(found, groups), "", *_told(found, shown), "", *map(str, files)])


def _owned(found: "Inspection", groups: Sequence[str]) -> list[str]:
    """For each group, the number of slots by number of owners, as lines."""
    most = max(len(found.owners[group]) for group in groups)
    rows = [["group", "slots", "owned by 1", *map(str, range(2, most + 1))]]
    for group in groups:
        counts = [*found.owners[group], *[0] * most][:most]
        rows.append([group, str(len(found.of(group))), *map(str, counts)])
    return table_lines(rows)


def _told(found: "Inspection", shown: Shown) -> list[str]:
    """The slots, as lines: of text a line a window, else one a slot."""
    from fedma.report.image_rows import NONE

    rows = [["group", "slot", "owners", f"excited most by these test {found.kind}"]]
    for group, slots in shown.items():
        for slot in slots:
            head = [group, slot.name, _owners(slot, found.clients)]
            told = [f"{found.shown(sample)}" for sample in slot.samples]
            told = told if found.kind == "windows" else [", ".join(told)] * bool(told)
            unknown = NONE if group in found.measured else "not measured"
            rows += [[*head, first] for first in told[:1] or [unknown]]
            rows += [["", "", "", other] for other in told[1:]]
    return table_lines(rows, words=4)


def _owners(slot: "Slot", clients: int) -> str:
    """Whose it is, in short."""
    if len(slot.owners) == clients:
        return f"all {clients}"
    return " ".join(map(str, slot.owners)) if len(slot.owners) <= 12 else f"{len(slot.owners)} of {clients}"


def _written(found: "Inspection", shown: Shown, out: Path) -> list[Path]:
    """The table of all slots, and of images a figure for each group."""
    from fedma.report.tables import write_csv

    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{found.method}.csv"]
    write_csv(found.rows(), files[0])
    if found.kind == "images":
        files += [_drawn(found, group, slots, out) for group, slots in shown.items() if group in found.measured]
    return files


def _drawn(found: "Inspection", group: str, slots: "Sequence[Slot]", out: Path) -> Path:
    """The images that excite the slots of a group most."""
    from fedma.report.image_rows import ImageRow, draw_image_rows

    path = out / f"{found.method}-{quote(group, safe='')}.png"
    strips = [
        ImageRow(
            f"{slot.name}  ({_owners(slot, found.clients)})",
            found.pictures(slot.samples).numpy(),
            [found.label(sample) for sample in slot.samples],
        )
        for slot in slots
    ]
    draw_image_rows(strips, path, title=f"{found.method}: what excites {group} most", down="slot (owners)")
    return path
