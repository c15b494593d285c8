"""Calls side by side, each in a process of its own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from fedma.engines.pool import cores, end_with
from fedma.errors import EngineError

Returned = TypeVar("Returned")


def side_by_side(
    jobs: int, function: Callable[..., Returned], arguments: Sequence[tuple[Any, ...]]
) -> Generator[Returned, None, None]:
    """The results, in the order in which calls finish.

    If a call raises, or on an interrupt, all other calls are stopped. Processes end with this process too.

    Args:
        jobs: calls at a time; they share the processor's cores.
        function: of a module, as are its arguments' classes: they are sent to the processes.
        arguments: of each call; calls begin in this order.

    Raises:
        EngineError: a process died.
    """
    others = set(multiprocessing.active_children())
    threads = max(1, cores() // jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (os.getpid(), threads))
    try:
        for done in as_completed([pool.submit(_call, function, own) for own in arguments]):
            yield done.result()
    except BrokenProcessPool:
        raise EngineError("a job's process died, perhaps because memory ran out; repeat with fewer jobs") from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_ended = threading.Event()


def _call(function: Callable[..., Returned], arguments: tuple[Any, ...]) -> Returned:
    """A process that is to end may have been sent another call before."""
    if _ended.is_set():
        raise KeyboardInterrupt
    return function(*arguments)


def _end(signal: int, frame: object) -> None:
    _ended.set()
    raise KeyboardInterrupt


def _begin(parent: int, threads: int) -> None:
    """Interrupts are the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
