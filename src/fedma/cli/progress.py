"""Progress: one live line on a terminal, plain lines elsewhere, and files for TensorBoard on request."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from fedma.algorithms import Reply
from fedma.experiments.callback import Callback, ExchangeStart, Silent
from fedma.optional_dependencies import imported


@contextmanager
def progress_callbacks(*, quiet: bool, heading: str = "", tensorboard: Path | None = None) -> Iterator[Callback]:
    """What shows the progress of a run.

    Args:
        quiet: show nothing.
        heading: a line to begin with, when the first clients are asked.
        tensorboard: a folder for TensorBoard's files, if they are wanted.

    Raises:
        MissingExtra: TensorBoard is wanted and not installed.
    """
    with ExitStack() as stack:
        callbacks: list[Callback] = []
        if tensorboard is not None:
            callbacks.append(Board(tensorboard, stack))
        if not quiet:
            callbacks.append(Heading(heading))
            callbacks.append(stack.enter_context(_live()) if sys.stderr.isatty() else Lines())
        yield Several(callbacks)


class Several:
    """Passes on to several."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    def exchange(self, exchange: ExchangeStart) -> None:
        """Clients are asked."""
        for callback in self._callbacks:
            callback.exchange(exchange)

    def reply(self, reply: Reply) -> None:
        """A client has answered."""
        for callback in self._callbacks:
            callback.reply(reply)

    def result(self, line: Mapping[str, Any]) -> None:
        """A model was evaluated."""
        for callback in self._callbacks:
            callback.result(line)


class Heading(Silent):
    """One line when the run begins; a mistake in the settings is reported without it."""

    def __init__(self, line: str) -> None:
        self._line = line

    def exchange(self, exchange: ExchangeStart) -> None:
        """Print it before the first."""
        if self._line:
            sys.stderr.write(f"{self._line}\n")
        self._line = ""


class Lines(Silent):
    """A line for each evaluation."""

    def result(self, line: Mapping[str, Any]) -> None:
        """Print it."""
        sys.stderr.write(f"{_words(line)}\n")


class Live(Silent):
    """One line for where the run stands; evaluations scroll above."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = self._begin(None)
        self._method, self._asked, self._answered, self._bytes = "", 0, 0, 0

    def exchange(self, exchange: ExchangeStart) -> None:
        """Show which it is; the bar's length is the client trainings of all rounds, if they are known."""
        total = None if exchange.rounds is None else exchange.rounds * exchange.steps * exchange.clients
        done = ((exchange.round - 1) * exchange.steps + exchange.step - 1) * exchange.clients
        if exchange.method != self._method:
            self._progress.remove_task(self._task)
            self._task = self._begin(total)
        self._method, self._asked, self._answered, self._bytes = exchange.method, exchange.clients, 0, exchange.bytes
        rounds = "" if exchange.rounds is None else f"/{exchange.rounds}"
        steps = f" step {exchange.step}/{exchange.steps}" if exchange.steps > 1 else ""
        where = f"{exchange.method} round {exchange.round}{rounds}{steps}"
        self._progress.update(self._task, completed=done, where=where)
        self._show()

    def reply(self, reply: Reply) -> None:
        """Move the bar."""
        self._answered += 1
        self._bytes += reply.bytes
        self._progress.advance(self._task)
        self._show()

    def result(self, line: Mapping[str, Any]) -> None:
        """Print it above the bar."""
        self._progress.update(self._task, accuracy=_main(line).strip())
        self._progress.console.print(_words(line), highlight=False)

    def _begin(self, total: int | None) -> TaskID:
        return self._progress.add_task("", total=total, where="reading the data", clients="", accuracy="", sent="")

    def _show(self) -> None:
        clients = f"{self._answered}/{self._asked} clients"
        self._progress.update(self._task, clients=clients, sent=f"{self._bytes / 1e6:.1f} MB")


class Left(TimeRemainingColumn):
    """The time that the method may still take, once there is an estimate."""

    def render(self, task: Task) -> Text:
        """Say so."""
        time = super().render(task)
        return Text(f"· {time} left") if time.plain.strip("-:") else Text()


class Board(Silent):
    """Numbers of every evaluation, by method and round; the files are begun with the first, in the run's folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._writer: Any = None
        self._open = imported("torch.utils.tensorboard", extra="tensorboard").SummaryWriter

    def result(self, line: Mapping[str, Any]) -> None:
        """Write them."""
        self._writer = self._writer or self._stack.enter_context(self._open(str(self._folder)))
        own = {name: line[name] for name in ("accuracy", "loss", "bytes_up", "bytes_down", "seconds")}
        for name, value in {**own, **line.get("metrics", {})}.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(f"{name}/{line['method']}", value, line["round"])


@contextmanager
def _live() -> Iterator[Callback]:
    columns = ("where", "clients", "accuracy", "sent")
    first, *rest = (TextColumn(f"{{task.fields[{name}]}}") for name in columns)
    times = (TimeElapsedColumn(), Left())
    with Progress(first, BarColumn(), *rest, *times, console=Console(stderr=True), transient=True) as progress:
        yield Live(progress)


def _words(line: Mapping[str, Any]) -> str:
    megabytes = (line["bytes_up"] + line["bytes_down"]) / 1e6
    return (
        f"{line['method']:<9} round {line['round']:>2}: {_named(line)}"
        f"  {megabytes:8.2f} MB  {line['local_epochs']:>4} local epochs  {line['seconds']:6.1f} s"
    )


def _named(line: Mapping[str, Any]) -> str:
    """The main metric with its name, and the further ones that are numbers."""
    metrics = {name: value for name, value in line.get("metrics", {}).items() if isinstance(value, (int, float))}
    if line["accuracy"] is None:
        return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return ", ".join([f"accuracy {_main(line)}", *(f"{name} {value:.4g}" for name, value in metrics.items())])


def _main(line: Mapping[str, Any]) -> str:
    """The main metric: accuracy, or the first of another task's."""
    if line["accuracy"] is not None:
        return f"{100 * line['accuracy']:5.1f} %"
    return next((f"{name} {value:.4g}" for name, value in line.get("metrics", {}).items() if value is not None), "")
