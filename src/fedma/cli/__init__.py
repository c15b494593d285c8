"""The command line: parse, call, print."""

import os
import sys
import warnings
from collections.abc import Sequence

import fedma
from fedma.errors import FedmaError, InputError, MissingExtra

SHELLS = ("bash", "zsh", "fish")
"""Shells for which completion can be printed."""

BROUGHT = ("tyro", "rich", "jinja2")
"""Packages that the extra `cli` brings, and that are imported wherever they are used."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `fedma` with these arguments (default: the process's own) and exit: 0, or 2 for what cannot be used."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _warn
    # As `python -m` does: `--model mine:factory` means mine.py in the working directory.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        try:
            _answer(arguments)
        finally:
            sys.stdout.flush()
    except FedmaError as error:
        sys.stderr.write(f"fedma: error: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None
    except PermissionError as error:
        sys.stderr.write(f"fedma: error: no permission for {error.filename}; name another file, or change its rights\n")
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Whoever reads has left, as `head` does; what is still to be written would raise the same at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        sys.stderr.write("fedma: interrupted\n")
        raise SystemExit(130) from None


def _answer(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        sys.stdout.write(f"fedma {fedma.__version__}\n")
        return
    if arguments[:1] == ["--print-completion"]:
        arguments = _completion(arguments[1:])
    _parse(arguments or ["--help"])


def _parse(arguments: list[str]) -> None:
    try:
        from fedma.cli.commands import parse

        parse(arguments).run()
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in BROUGHT:
            raise
        raise MissingExtra(f"the command line needs {error.name}: pip install 'fedma[cli]'") from error


def _completion(shell: list[str]) -> list[str]:
    if len(shell) != 1 or shell[0] not in SHELLS:
        raise InputError(f"--print-completion takes one of {', '.join(SHELLS)}; got {' '.join(shell) or 'nothing'}")
    return ["--tyro-print-completion", *shell]


def _warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    sys.stderr.write(f"fedma: warning: {message}\n")
