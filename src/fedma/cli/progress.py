"""Progress on the terminal: a bar where there is one, plain lines where there is not."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fedma.algorithms import Reply
from fedma.experiments.run import Watch


@contextmanager
def watcher(*, quiet: bool) -> Iterator[Watch]:
    """What shows the progress of a run."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("client trainings"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            yield Bars(progress)
    else:
        yield Lines()


class Silent:
    """Says nothing."""

    def start(self, method: str, tasks: int | None) -> None:
        """A method begins."""

    def reply(self, method: str, reply: Reply) -> None:
        """A client has answered."""

    def result(self, line: Mapping[str, Any]) -> None:
        """A model was evaluated."""


class Lines(Silent):
    """A line for each evaluation."""

    def result(self, line: Mapping[str, Any]) -> None:
        """Print it."""
        sys.stderr.write(f"{_words(line)}\n")


class Bars(Silent):
    """A bar for each method; evaluations scroll above."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def start(self, method: str, tasks: int | None) -> None:
        """Show the method's bar; it pulses when its length is not known."""
        self._tasks[method] = self._progress.add_task(method, total=tasks)

    def reply(self, method: str, reply: Reply) -> None:
        """Move the bar."""
        self._progress.advance(self._tasks[method])

    def result(self, line: Mapping[str, Any]) -> None:
        """Print it above the bars; end the bar after the last."""
        self._progress.console.print(_words(line), highlight=False)
        if line["final"] and line["method"] in self._tasks:
            task = self._tasks[line["method"]]
            self._progress.update(task, total=self._progress.tasks[task].completed)


def _words(line: Mapping[str, Any]) -> str:
    megabytes = (line["bytes_up"] + line["bytes_down"]) / 1e6
    return (
        f"{line['method']:<9} round {line['round']:>2}: accuracy {100 * line['accuracy']:5.1f} %"
        f"  {megabytes:8.2f} MB  {line['local_epochs']:>4} local epochs  {line['seconds']:6.1f} s"
    )
