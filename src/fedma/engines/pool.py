"""Worker processes: forked once, kept alive, replaced when they die."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from fedma.engines.memory import Area
from fedma.errors import EngineError

WORKER_ATTEMPTS = 3
"""How many workers may die of one task."""


class Died(Exception):
    """Workers died of one task, time after time: its `position` among the tasks, and the last worker's exit `code`."""

    def __init__(self, position: int, code: int | None) -> None:
        super().__init__(position, code)
        self.position, self.code = position, code


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unable_to_fork() -> str:
    """Why no worker processes can be forked from this process; empty if they can."""
    if multiprocessing.current_process().daemon:
        return "this is a daemonic process (a worker of joblib, Dask or another pool), which may start no other"
    if not forked_can_train():
        return "this process has trained before, or used the GPU, and no process forked from it can train then"
    return ""


def forked_can_train() -> bool:
    """Whether a process forked from this one can train.

    It cannot after this process has used a GPU. If there is a GPU, it cannot after any backward pass either: autograd
    then has threads for every device, which a fork loses.
    """
    if torch.cuda.device_count() == 0:
        return True
    if torch.cuda.is_initialized():
        return False
    trial = multiprocessing.get_context("fork").Process(target=_differentiate)
    trial.start()
    trial.join()
    return trial.exitcode == 0


def _differentiate() -> None:
    try:
        torch.ones(1, requires_grad=True).sum().backward()
    except RuntimeError:
        os._exit(1)


class Pool:
    """Processes that all do the same kind of work, and inherit what they need for it; only tasks are sent."""

    def __init__(self, workers: int, do: Callable[[Any], Any], begin: Callable[[int], None]) -> None:
        """Fork them.

        Args:
            workers: how many.
            do: takes a task and gives its result; called in a worker process. What it raises, `run` raises.
            begin: called first in each worker process, with the worker's number.
        """
        self._do, self._begin = do, begin
        self._workers = [_Worker(number, do, begin) for number in range(workers)]

    def run(self, number: int, task: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
        """Each task's position and result, as they come; tasks begin in their order.

        A worker that dies is replaced, and its task begun again.

        Args:
            number: how many tasks.
            task: makes the one of a position, when it is to begin.

        Raises:
            Died: three workers have died of the same task.
        """
        waiting, deaths = deque(range(number)), Counter[int]()
        busy: dict[_Worker, int] = {}
        results: list[tuple[int, Any]] = []
        try:
            while waiting or busy or results:
                self._send(task, waiting, busy)
                yield from results
                results = []
                ready = wait([worker.fileno() for worker in busy]) if busy else []
                for worker in [worker for worker in busy if worker.fileno() in ready]:
                    position = busy.pop(worker)
                    try:
                        answer = worker.receive()
                    except EOFError:
                        deaths[position] += 1
                        code = worker.kill()
                        if deaths[position] == WORKER_ATTEMPTS:
                            raise Died(position, code) from None
                        waiting.appendleft(position)
                        continue
                    if isinstance(answer, _Failure):
                        raise answer.error
                    results.append((position, answer))
        finally:
            # Nobody waits for what is still being worked at.
            for worker in busy:
                worker.kill()

    def close(self) -> None:
        """End the workers, whatever they do."""
        for worker in self._workers:
            worker.kill()

    def _send(self, task: Callable[[int], Any], waiting: deque[int], busy: "dict[_Worker, int]") -> None:
        """Give every idle worker a task, as far as there are any; the dead are replaced first."""
        for number, worker in enumerate(self._workers):
            while waiting and worker not in busy:
                try:
                    worker.send(task(waiting[0]))
                    busy[worker] = waiting.popleft()
                except EOFError:
                    worker.kill()
                    worker = self._workers[number] = _Worker(number, self._do, self._begin)


@dataclass(frozen=True)
class _Failure:
    """What a task raised."""

    error: Exception


class _Worker:
    """The parent's view of one process."""

    def __init__(self, number: int, do: Callable[[Any], Any], begin: Callable[[int], None]) -> None:
        self._inbox, self._outbox = Area(), Area()
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=self._serve, args=(theirs, number, do, begin, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()

    def fileno(self) -> int:
        """For `wait`: readable when there is a result, or an end."""
        return self._pipe.fileno()

    def send(self, task: Any) -> None:
        """Let it begin a task; EOFError if it is dead."""
        if self._pipe.closed:
            raise EOFError
        packed = self._inbox.pack(task)
        try:
            self._pipe.send_bytes(packed)
        except OSError as error:
            raise EOFError from error

    def receive(self) -> Any:
        """What it answers; EOFError if it is dead."""
        try:
            packed = self._pipe.recv_bytes()
        except OSError as error:
            raise EOFError from error
        return self._outbox.unpack(packed, copy=True)

    def kill(self) -> int | None:
        """End it; its exit code. A second time does nothing."""
        if not self._pipe.closed:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._inbox.close()
            self._outbox.close()
        return self._process.exitcode

    def _serve(
        self, pipe: Connection, number: int, do: Callable[[Any], Any], begin: Callable[[int], None], parent: int
    ) -> None:
        """The life of the process: interrupts are the parent's business, and it ends when the parent does."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
        _keep_memory()
        begin(number)
        while True:
            try:
                packed = pipe.recv_bytes()
            except EOFError:
                return
            task = self._inbox.unpack(packed, copy=False)
            try:
                answer = do(task)
            except Exception as error:
                answer = _Failure(_portable(error))
            pipe.send_bytes(self._outbox.pack(answer))


def end_with(parent: int) -> None:
    """Wait for this parent process to end, then end this one."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _keep_memory() -> None:
    """Let glibc keep freed memory instead of handing it back and asking again, a thousand pages in every step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def _portable(error: Exception) -> Exception:
    """The error, with a note of its origin; another error with its text if it cannot be pickled."""
    trace = traceback.format_exc()
    try:
        error.add_note(f"In a worker process:\n{trace}")
        pickle.loads(pickle.dumps(error))
    except Exception:
        return EngineError(f"a client's training failed: {trace}")
    return error
