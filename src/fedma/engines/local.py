"""The federation on one machine: clients as tasks of worker processes."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch

from fedma.algorithms import Ask, Client, Reply
from fedma.errors import EngineError
from fedma.units import Weights

_clients: Mapping[int, Client] = {}
"""In a worker process: the clients, inherited when it was forked."""


class LocalEngine:
    """Delivers asks to clients on this machine and keeps what each client holds between exchanges.

    Every client trains in one thread, so that results do not depend on the number of workers or on which client
    finishes first. Use as a context manager, which ends the workers.
    """

    def __init__(self, clients: Sequence[Client], *, workers: int | None = None) -> None:
        """An engine over these clients.

        Args:
            clients: the federation.
            workers: worker processes; None for one for each core, as far as there are clients. With one, or where
                processes cannot be forked (on a GPU, or another system than Linux), clients run one after the other
                in this process.
        """
        self.clients = {client.number: client for client in clients}
        self.held: dict[int, Weights] = {}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = min(workers or cores, len(clients))
        self._stack = ExitStack()
        self._pool: Executor | None = None

    def __enter__(self) -> "LocalEngine":
        on_cpu = all(client.device == "cpu" for client in self.clients.values())
        # macOS knows fork too, but its own libraries do not survive it.
        if on_cpu and self.workers > 1 and sys.platform == "linux":
            self._pool = self._stack.enter_context(_forked(self.clients, self.workers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def reset(self, initial: Mapping[int, Weights]) -> None:
        """Let each client hold these weights, by client number."""
        self.held = dict(initial)

    def deliver(self, asks: Sequence[Ask], *, done: Callable[[Reply], None] = lambda reply: None) -> list[Reply]:
        """The clients' replies, in the order of the asks; `done` hears of each as it comes.

        Largest clients start first, which keeps the workers busy to the end.
        """
        order = sorted(asks, key=lambda ask: -len(self.clients[ask.client].data))
        replies: dict[int, Reply] = {}
        for reply, held in self._answers(order):
            self.held[reply.client] = held
            replies[reply.client] = reply
            done(reply)
        return [replies[ask.client] for ask in asks]

    def _answers(self, asks: Sequence[Ask]) -> Iterator[tuple[Reply, Weights]]:
        if self._pool is None:
            with _one_thread():
                for ask in asks:
                    yield self.clients[ask.client].answer(ask, self.held[ask.client])
            return
        # As bytes: tensors handed to another process as they are share memory through file descriptors, and run out.
        futures: list[Future[bytes]] = [
            self._pool.submit(_answer, pickle.dumps((ask, self.held[ask.client]))) for ask in asks
        ]
        try:
            for future in as_completed(futures):
                yield pickle.loads(future.result())
        except BrokenProcessPool as error:
            raise EngineError(
                "a worker process died, perhaps for want of memory; try again with fewer workers (1 needs none)"
            ) from error


def _answer(packed: bytes) -> bytes:
    """One client's answer, in a worker process."""
    ask, own = pickle.loads(packed)
    return pickle.dumps(_clients[ask.client].answer(ask, own))


@contextmanager
def _forked(clients: Mapping[int, Client], workers: int) -> Iterator[Executor]:
    """Worker processes that have inherited the clients and their data."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(clients, os.getpid()))
    try:
        yield pool
    except BaseException:
        # Nobody waits for what is still training.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(clients: Mapping[int, Client], parent: int) -> None:
    """Set up a worker process: one thread; interrupts are the parent's business, and it ends when the parent does."""
    global _clients
    _clients = clients
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread inside, as in a worker process; as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
