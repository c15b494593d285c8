"""The federation on one machine: clients as tasks of worker processes."""

import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch

from fedma.algorithms import Ask, Client, Reply
from fedma.data import Split
from fedma.engines.pool import WORKER_ATTEMPTS, Died, Pool, cores, unable_to_fork
from fedma.errors import EngineError, SlowWarning
from fedma.tasks import Judge, Sums, added
from fedma.training import BATCH, judged
from fedma.training.compute import Precision
from fedma.units import Weights, rebuild

_CHUNK = 8 * BATCH
"""Samples of a task of evaluation; whole batches, so that the division among workers changes nothing."""


class LocalEngine:
    """Delivers asks to clients on this machine and keeps what each client holds between exchanges.

    Every client trains in one thread, so that results do not depend on the number of workers or on which client
    finishes first. Use as a context manager, which ends the workers.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        workers: int | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
        test: Split | None = None,
        judge: Judge | None = None,
    ) -> None:
        """An engine over these clients.

        Args:
            clients: the federation.
            workers: worker processes, at most one for each client. None takes one for each core, or for each GPU if
                that is the device. With one worker, clients run one after the other in this process. So they do if
                processes cannot be forked: on other systems than Linux, in a daemonic process (a worker of joblib or
                Dask), and in a process that has used a GPU. The last two give a `SlowWarning`.
            device: where clients train; with "cuda", workers take the GPUs in turn.
            precision: of training and evaluation, as `fedma.training.Compute` has it.
            test: samples to judge models by.
            judge: how; by default by the clients' task.
        """
        self.clients = {client.number: client for client in clients}
        self.template = clients[0].template
        self.held: dict[int, Weights] = {}
        self._initial: Mapping[int, Weights] = {}
        self._test = clients[0].data.select([]) if test is None else test
        self._judge = judge or Judge(clients[0].task)
        self._compute = clients[0].compute(device=device, precision=precision)
        self.workers = min(workers or _slots(device), len(clients))
        self._pool: Pool | None = None

    def __enter__(self) -> "LocalEngine":
        # macOS knows fork too, but its own libraries do not survive it.
        if self.workers > 1 and sys.platform == "linux":
            if reason := unable_to_fork():
                warnings.warn(
                    f"{reason}: clients run one after the other; for {self.workers} workers begin in a fresh process, "
                    "such as fedma run",
                    SlowWarning,
                    stacklevel=2,
                )
            else:
                self._pool = Pool(self.workers, self._do, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def reset(self, initial: Mapping[int, Weights], *, held: Mapping[int, Weights] | None = None) -> None:
        """Let each client start from these weights, by client number, or from the weights in `held`.

        `initial` may make them when they are asked for: a client's are looked up when it is first asked to train them.
        """
        self._initial, self.held = initial, dict(held or {})

    def deliver(self, asks: Sequence[Ask], *, done: Callable[[Reply], None] = lambda reply: None) -> list[Reply]:
        """The clients' replies, in the order of the asks; `done` hears of each as it comes.

        Largest clients start first, which keeps the workers busy to the end.

        Raises:
            EngineError: worker processes died while one client, which it names, was training.
        """
        order = sorted(asks, key=lambda ask: -len(self.clients[ask.client]))
        replies: dict[int, Reply] = {}
        try:
            for position, (reply, held) in self._run(len(order), lambda position: self._task(order[position])):
                client = order[position].client
                self.held.pop(client, None)
                if held is not None:
                    self.held[client] = held
                replies[client] = reply
                done(reply)
        except Died as error:
            raise EngineError(
                f"client {order[error.position].client}: {_how(error)}; try fewer workers (1 needs none), or give this "
                "client fewer samples"
            ) from None
        return [replies[ask.client] for ask in asks]

    def judge(self, models: Sequence[Weights]) -> list[Sums]:
        """The sums that judge these models on the test samples: of all together, and of several also of each by itself.

        Raises:
            EngineError: there are no test samples, or worker processes died of it.
            InputError: several models, and the task cannot combine predictions.
        """
        starts = range(0, len(self._test), _CHUNK)
        if not starts:
            raise EngineError("this engine was given no test samples to judge models by; give it some")
        parts: list[list[Sums]] = [[]] * len(starts)
        try:
            for position, part in self._run(len(starts), lambda position: ("judge", tuple(models), starts[position])):
                parts[position] = part
        except Died as error:
            raise EngineError(f"evaluating a model: {_how(error)}; try fewer workers (1 needs none)") from None
        return [added(of_one) for of_one in zip(*parts, strict=True)]

    def _task(self, ask: Ask) -> tuple[object, ...]:
        """The ask, and what the client holds, unless the ask brings all of it."""
        sent = replace(ask, weights=ask.sent)
        brings_all = sent.weights.keys() >= self.clients[ask.client].graph.layouts.keys() and not ask.widen
        if brings_all:
            return "answer", sent, {}
        return "answer", sent, self.held.get(ask.client) or self._initial[ask.client]

    def _run(self, number: int, task: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
        # One thread with workers too: others of this process would wait for work on the workers' cores.
        with _one_thread():
            if self._pool is not None:
                yield from self._pool.run(number, task)
            else:
                yield from ((position, self._do(task(position))) for position in range(number))

    def _begin(self, number: int) -> None:
        """In a worker process: one thread, and the GPU that is its own."""
        torch.set_num_threads(1)
        if self._compute.device == "cuda":
            self._compute = replace(self._compute, device=f"cuda:{number % torch.cuda.device_count()}")

    def _do(self, task: tuple[Any, ...]) -> Any:
        """In a worker process: a client's answer, or sums of a part of the test samples."""
        if task[0] == "answer":
            _, ask, own = task
            reply, held = self.clients[ask.client].answer(ask, own, compute=self._compute)
            return reply, held if ask.keep else None
        _, own_weights, start = task
        return self._judged(own_weights, start)

    def _judged(self, own_weights: Sequence[Weights], start: int) -> list[dict[str, Any]]:
        """The sums of a part of the test samples."""
        models = [rebuild(self.template, own) for own in own_weights]
        rows = torch.arange(start, min(start + _CHUNK, len(self._test)))
        return judged(self._judge, models, self._test, rows=rows, compute=self._compute)


def _slots(device: str) -> int:
    """How many clients can train at a time."""
    if device == "cuda":
        return torch.cuda.device_count()
    if device != "cpu":
        return 1
    return cores()


def _how(error: Died) -> str:
    cause = f"code {error.code}"
    if error.code is not None and error.code < 0:
        cause = f"{signal.Signals(-error.code).name}, perhaps because memory ran out"
    return f"its worker process died {WORKER_ATTEMPTS} times ({cause})"


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread inside, as in a worker process; as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
