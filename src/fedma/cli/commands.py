"""The commands, each a dataclass whose fields are its flags."""

import contextlib
import io
import itertools
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Protocol, Union

import tyro
from tyro.conf import Fixed, OmitArgPrefixes, Positional, Suppress, arg

from fedma.cli.app import App
from fedma.cli.fuse import Fuse
from fedma.cli.inspect import Inspect
from fedma.cli.preflight import check_figures
from fedma.cli.reproduce import Reproduce
from fedma.errors import InputError
from fedma.experiments.settings import Settings, from_toml
from fedma.methods import METHODS


class Command(Protocol):
    """What the command line does."""

    def run(self) -> None:
        """Do it."""


METHODS_TAKEN = f"[{{{','.join(METHODS.names)}}}|MODULE:NAME ...]"
"""What --method takes, for the help."""


@dataclass(frozen=True)
class SettingsFlags(Settings):  # noqa: D101
    __doc__ = Settings.__doc__  # the help of each flag

    method: Annotated[tuple[str, ...], arg(metavar=METHODS_TAKEN)] = Settings.method

    @property
    def plain(self) -> Settings:
        """The settings themselves."""
        return Settings(**vars(self))


@dataclass(frozen=True)
class RunCommand:
    """Train and compare methods on one federation; results go into a new run folder.

    Attributes:
        settings: the experiment.
        config: a TOML file with settings; flags override it.
        out: the run folder. The default is runs/ and the time.
        resume: resume the interrupted run in this folder with its own settings; only --workers may change.
        tensorboard: also write files for TensorBoard, into the run folder.
        quiet: show no progress.
        sources: where each setting that is not the default comes from.
    """

    settings: OmitArgPrefixes[SettingsFlags] = field(default_factory=SettingsFlags)
    config: Path | None = None
    out: Path | None = None
    resume: Path | None = None
    tensorboard: bool = False
    quiet: bool = False
    sources: Suppress[Fixed[Mapping[str, str]]] = field(default_factory=dict)

    def run(self) -> None:
        """Run the experiment, then print its table."""
        from fedma.cli.progress import progress_callbacks
        from fedma.experiments.run import resume, run

        given = set(self.sources) - {"workers"} or replace(self.settings, workers=0) != SettingsFlags()
        if self.resume is not None and (self.out or given):
            raise InputError("--resume takes the run's own settings; of others, only --workers can be given with it")
        check_figures()
        folder = self.resume or self.out or _new_folder()
        try:
            board = folder / "tensorboard" if self.tensorboard else None
            with progress_callbacks(quiet=self.quiet, heading=self._heading(), tensorboard=board) as callback:
                if self.resume is not None:
                    resume(folder, callback, workers=self.settings.workers)
                else:
                    run(self.settings.plain, folder, callback, sources=self.sources)
        except KeyboardInterrupt:
            if (folder / "run.json").exists():
                sys.stderr.write(f"fedma: to go on: fedma run --resume {folder}\n")
            raise
        _print_report([folder], folder)

    def _heading(self) -> str:
        """The settings that are not the defaults, each with its source."""
        values = asdict(self.settings)
        given = [f"{name} {_plain(values[name])} ({source})" for name, source in self.sources.items()]
        return "" if self.resume else f"settings: {', '.join([*given, 'all others by default'])}"


@dataclass(frozen=True)
class Demo:
    """Compare all methods on handwritten digits, split unevenly over ten clients (about a minute, no download).

    Attributes:
        out: the run folder. The default is runs/ and the time.
        seed: the seed of all random numbers.
        quiet: show no progress.
    """

    out: Path | None = None
    seed: int = 0
    quiet: bool = False

    def run(self) -> None:
        """Run the demonstration."""
        settings = Settings(
            method=("fedma", "fedavg", "fedprox", "pfnm", "ensemble", "pooled"),
            rounds=2,
            equal_bytes=True,
            local_epochs=20,
            lr=0.02,
            batch_size=16,
            seed=self.seed,
        )
        changed = [name for name, value in asdict(settings).items() if value != asdict(Settings())[name]]
        sources = {name: "flag" if name == "seed" else "demo" for name in changed}
        RunCommand(SettingsFlags(**vars(settings)), out=self.out, quiet=self.quiet, sources=sources).run()


@dataclass(frozen=True)
class Report:
    """Make the page, the tables and the figures of one or several run folders.

    Attributes:
        runs: run folders. Runs that differ only in their seed become one row with an interval.
        out: the folder to write to. The default is the run folder, or report/ for several runs.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None

    def run(self) -> None:
        """Write the report and print its table."""
        if not self.runs:
            raise InputError("name at least one run folder: fedma report runs/...")
        _print_report(list(self.runs), self.out or (self.runs[0] if len(self.runs) == 1 else Path("report")))


@dataclass(frozen=True)
class Units:
    """Show a model's unit groups: which weights move together.

    Attributes:
        model: a network of fedma.models (an unknown name lists them), or package.module:factory.
        input_shape: the shape of one input, without the batch.
        classes: number of classes.
        integers: inputs are whole numbers below this one (tokens), not real numbers. For char-lstm use
            --input-shape 80 --integers 65 --classes 65.
        verify: check the groups by permuting the model and comparing its outputs.
    """

    model: Positional[str]
    input_shape: tuple[int, ...] = (1, 28, 28)
    classes: int = 10
    integers: int | None = None
    verify: bool = True

    def run(self) -> None:
        """Derive the groups and print them."""
        import torch

        from fedma.models import build
        from fedma.seeds import generator
        from fedma.units import units

        if min(self.input_shape, default=1) < 1:
            raise InputError(f"input_shape must be positive numbers; got {self.input_shape}")
        if self.classes < 1 or (self.integers is not None and self.integers < 1):
            raise InputError(f"classes and integers must be at least 1; got {self.classes} and {self.integers}")
        model = build(self.model, self.input_shape, self.classes, seed=0, vocabulary=self.integers)
        shape = (2, *self.input_shape)
        draw = generator(0, "inputs")
        inputs = torch.rand(shape, generator=draw)
        if self.integers is not None:
            inputs = torch.randint(self.integers, shape, generator=draw)
        try:
            with torch.no_grad():
                model.eval()(inputs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"model {self.model!r} does not take inputs of shape {self.input_shape}: {error}; give others with "
                "--input-shape, or --integers for tokens"
            ) from error
        sys.stdout.write(f"{units(model, inputs, verify=self.verify)}\n")


def parse(arguments: Sequence[str]) -> Command:
    """The command that these arguments ask for; exits with 2 and a message when they are wrong."""
    config = _config(arguments)
    settings = SettingsFlags(**vars(from_toml(config) if config else Settings()))
    defaults: dict[type, Any] = {RunCommand: RunCommand(settings, sources=_sources(arguments, config)), Demo: Demo()}
    kinds: dict[str, type] = {
        "run": RunCommand,
        "demo": Demo,
        "report": Report,
        "inspect": Inspect,
        "reproduce": Reproduce,
        "fuse": Fuse,
        "units": Units,
        "app": App,
    }
    choices: Any = tuple(
        Annotated[kind, tyro.conf.subcommand(name, **({"default": defaults[kind]} if kind in defaults else {}))]
        for name, kind in kinds.items()
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            kind: Any = Union[choices]  # noqa: UP007
            command: Command = tyro.cli(
                kind,
                prog="fedma",
                description="Federated learning by matched averaging. Alone: --version, --print-completion bash.",
                args=list(arguments),
                config=(tyro.conf.ConsolidateSubcommandArgs,),
            )
            return command
    except SystemExit as exit_:
        if exit_.code == 2:
            raise InputError(_first_lines(said.getvalue())) from None
        raise


def _first_lines(box: str) -> str:
    """The message in the parser's box, without its title and the help below; the box may be drawn in ASCII."""
    lines = [line.strip("│╰╯ ") for line in box.splitlines()][1:]
    message = itertools.takewhile(
        lambda line: line.strip("─-"), itertools.dropwhile(lambda line: not line.strip("─-"), lines)
    )
    return " ".join(message).replace(" (required)", "").rstrip(".") + "; see fedma --help, or --help after a command"


def _config(arguments: Sequence[str]) -> Path | None:
    """The file named with --config, whose settings flags override."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = flag.partition("=")
        if name == "--config" and (joined or value):
            return Path(joined or value)
    return None


def _sources(arguments: Sequence[str], config: Path | None) -> dict[str, str]:
    """Where settings come from that are given: the file or a flag."""
    flags = [flag.partition("=")[0].removeprefix("--").removeprefix("no-") for flag in arguments if flag[:2] == "--"]
    file = tomllib.loads(config.read_text(encoding="utf-8")) if config else {}
    given = {name.replace("-", "_"): str(config) for name in file} | {name.replace("-", "_"): "flag" for name in flags}
    return {own.name: given[own.name] for own in fields(Settings) if own.name in given}


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _new_folder() -> Path:
    return Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S")


def _print_report(folders: Sequence[Path], out: Path) -> None:
    from fedma.report import read, report, table

    files = report(folders, out)
    sys.stdout.write(f"\n{table([read(folder) for folder in folders])}\n")
    for file in [*(file for file in files if file.parent == out), out / "figures"]:
        sys.stdout.write(f"{file}\n")
