"""Worker processes: killed ones are replaced, errors and tensors pass between processes as they are."""

import multiprocessing
import os
import signal
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from federation import assert_equal, clients, initial, play, split
from fedma.algorithms import Client, FedAvg, State
from fedma.engines import LocalEngine, pool
from fedma.engines.memory import Area
from fedma.engines.pool import Died, Pool
from fedma.errors import EngineError, InputError, SlowWarning
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.seeds import generator
from fedma.tasks import Judge
from fedma.training import Schedule, evaluate
from fedma.units import rebuild, units, weights

SCHEDULE = Schedule(epochs=2, batch_size=8)


class _Mortal(nn.Module):
    """Kills its process in mid-training, as often as there are files in a folder; it takes one away each time."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)
        self.out.weight.data = torch.randn(3, 64, generator=generator(0, "out")) / 8
        self.out.bias.data.zero_()
        self.folder = folder
        self.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        if self.training and self.steps > 6 and bool((x[:, 0, 0, 0] == 7).any()):
            for file in self.folder.iterdir():
                file.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.out(x.flatten(1))


def _mortals(folder: Path) -> tuple[list[Client], FedAvg]:
    model = _Mortal(folder)
    graph = units(model, torch.zeros(2, 1, 8, 8))
    model.steps = 0
    members = []
    for number in range(4):
        data = split(40, seed=number)
        if number == 2:
            data.inputs[:, 0, 0, 0] = 7
        members.append(Client(number, data, model, graph, 3, 0))
    return members, FedAvg(graph, range(4), SCHEDULE, 2, weights(model))


def _played(folder: Path, deaths: int, *, workers: int) -> State:
    folder.mkdir()
    for number in range(deaths):
        (folder / str(number)).touch()
    members, algorithm = _mortals(folder)
    return play(algorithm, members, dict.fromkeys(range(4), weights(members[0].template)), workers=workers)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_killed_in_mid_training_changes_nothing(tmp_path: Path, deaths: int) -> None:
    alive = _played(tmp_path / "alive", 0, workers=1)
    killed = _played(tmp_path / "killed", deaths, workers=2)
    assert not list((tmp_path / "killed").iterdir())
    assert_equal(alive.weights, killed.weights, rtol=0, atol=0)
    assert not multiprocessing.active_children()


def test_a_client_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"client 2: .*worker process died 3 times \(SIGKILL"):
        _played(tmp_path / "many", 50, workers=2)
    assert not multiprocessing.active_children()


def test_workers_killed_between_rounds_are_replaced() -> None:
    members = clients(4)
    algorithm = FedAvg(members[0].graph, range(4), SCHEDULE, 1, weights(members[0].template))
    asks = algorithm.asks(algorithm.start())
    with LocalEngine(members, workers=2) as engine:
        before = engine.deliver(asks)
        for worker in multiprocessing.active_children():
            worker.kill()
        after = engine.deliver(asks)
    for left, right in zip(before, after, strict=True):
        assert_equal(left.weights, right.weights, rtol=0, atol=0)


def test_an_error_in_a_worker_is_raised_as_it_is_and_the_engine_goes_on() -> None:
    def work(task: int) -> int:
        if task == 3:
            raise InputError("three is not to be had")
        if task == 4:
            raise EOFError("of a file of the user's own")
        return task * task

    pool = Pool(2, work, lambda number: None)
    try:
        with pytest.raises(InputError, match="three") as caught:
            list(pool.run(4, lambda position: position))
        assert "In a worker process" in caught.value.__notes__[0]
        with pytest.raises(EOFError, match="user"):
            list(pool.run(1, lambda position: 4))
        assert sorted(pool.run(3, lambda position: position)) == [(0, 0), (1, 1), (2, 4)]
        assert list(pool.run(0, lambda position: position)) == []
    finally:
        pool.close()


class _Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def test_an_error_that_cannot_travel_is_told() -> None:
    def work(task: int) -> int:
        raise _Odd(1, 2)

    pool = Pool(1, work, lambda number: None)
    try:
        with pytest.raises(EngineError, match="_Odd"):
            list(pool.run(1, lambda position: position))
    finally:
        pool.close()


def test_three_deaths_are_enough() -> None:
    pool = Pool(2, lambda task: os._exit(5), lambda number: None)
    try:
        with pytest.raises(Died) as died:
            list(pool.run(1, lambda position: position))
        assert (died.value.position, died.value.code) == (0, 5)
    finally:
        pool.close()


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.lists(
        st.builds(
            lambda shape, dtype: torch.arange(torch.Size(shape).numel()).view(shape).to(dtype),
            st.lists(st.integers(0, 4), max_size=3),
            st.sampled_from([torch.float32, torch.float64, torch.int32, torch.int64, torch.bool, torch.bfloat16]),
        ),
        max_size=4,
    )
)
def test_tensors_pass_through_shared_memory_as_they_are(tensors: list[torch.Tensor]) -> None:
    area = Area()
    message = {"tensors": tensors, "again": tensors, "words": ("a", 1)}
    for _ in range(2):
        back = area.unpack(area.pack(message), copy=True)
        assert back["words"] == ("a", 1)
        torch.testing.assert_close(back["tensors"], tensors, rtol=0, atol=0)
        assert all(a is b for a, b in zip(back["tensors"], back["again"], strict=True))
    area.close()


def test_clients_of_plain_averaging_hold_nothing_and_share_their_data() -> None:
    data = split(3000)
    template = clients(1)[0].template
    graph = clients(1)[0].graph
    rows = torch.arange(3000).split(3)
    members = [Client(j, data, template, graph, 3, 0, rows=own) for j, own in enumerate(rows)]
    algorithm = FedAvg(graph, range(1000), SCHEDULE, 3, weights(template), participants=5)
    asked = set()
    with LocalEngine(members, workers=2) as engine:
        state = algorithm.start()
        while asks := algorithm.asks(state):
            asked |= {ask.client for ask in asks}
            state = algorithm.absorb(state, engine.deliver(asks))
            assert not engine.held
    assert len(asked) > 10


def test_rows_are_the_same_as_a_selection() -> None:
    data, rows = split(40), torch.tensor([3, 17, 4, 30, 8, 9])
    template, graph = clients(1)[0].template, clients(1)[0].graph
    results = []
    for client in (
        Client(0, data, template, graph, 3, 0, rows=rows),
        Client(0, data.select(rows), template, graph, 3, 0),
    ):
        assert len(client) == 6
        algorithm = FedAvg(graph, [0], SCHEDULE, 1, weights(template))
        results.append(play(algorithm, [client], {}).weights)
    assert_equal(*results, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_models_are_judged_by_does_not_depend_on_workers(workers: int) -> None:
    members, test = clients(3, model="cnn"), split(2300, seed=9)
    models = list(initial(members, model="cnn").values())
    with LocalEngine(members, workers=workers, test=test) as engine:
        together, *alone = engine.judge(models)
    assert [sums["examples"] for sums in (together, *alone)] == [2300] * 4
    built = [rebuild(members[0].template, own) for own in models]
    judge = Judge(members[0].task)
    for sums, expected in ((together, evaluate(built, test)), (alone[1], evaluate([built[1]], test))):
        assert judge.measure(sums) == {"accuracy": expected.accuracy, "loss": expected.loss}
    if workers == 2:
        with LocalEngine(members, workers=1, test=test) as engine:
            for sums, again in zip((together, *alone), engine.judge(models), strict=True):
                torch.testing.assert_close(dict(sums), dict(again), rtol=0, atol=0)


def test_without_test_samples_there_is_nothing_to_judge_by() -> None:
    with LocalEngine(clients(1)) as engine, pytest.raises(EngineError, match="no test samples"):
        engine.judge([])


def test_sending_a_task_takes_the_server_milliseconds() -> None:
    pool = Pool(2, lambda task: task, lambda number: None)
    message = {"weights": torch.zeros(400_000)}
    try:
        list(pool.run(10, lambda position: message))
        start = time.process_time()
        list(pool.run(50, lambda position: message))
        assert (time.process_time() - start) / 50 < 0.01
    finally:
        pool.close()


@pytest.mark.parametrize("used", [True, False])
def test_where_forks_cannot_train_clients_run_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    alone = _played(tmp_path / "alone", 0, workers=1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    if not used:
        monkeypatch.setattr(pool, "_differentiate", lambda: os._exit(1))
    with pytest.warns(SlowWarning, match="begin in a fresh process"):
        here = _played(tmp_path / "here", 0, workers=2)
    assert_equal(alone.weights, here.weights, rtol=0, atol=0)


def _in_daemon(folder: Path, sent: Connection) -> None:
    """Run an experiment and play a federation with two workers; send what warned, and the weights."""
    settings = Settings(model="mlp-8", method=("fedavg",), clients=2, limit=60, local_epochs=1, workers=2)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run(settings, folder / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowWarning)
        here = _played(folder / "here", 0, workers=2)
    # Arrays, as tensors are handed over by a process that lives on.
    arrays = {name: tensor.numpy() for name, tensor in here.weights.items()}
    sent.send(([(each.category, str(each.message)) for each in warned], arrays))


def test_a_daemonic_process_trains_by_itself(tmp_path: Path) -> None:
    alone = _played(tmp_path / "alone", 0, workers=1)
    received, sent = multiprocessing.Pipe(duplex=False)
    daemon = multiprocessing.get_context("fork").Process(target=_in_daemon, args=(tmp_path, sent), daemon=True)
    daemon.start()
    sent.close()
    warned, here = received.recv()
    daemon.join()
    assert [(kind, "daemonic process" in text) for kind, text in warned] == [(SlowWarning, True)]
    assert daemon.exitcode == 0
    assert_equal(alone.weights, {name: torch.from_numpy(array) for name, array in here.items()}, rtol=0, atol=0)
    assert (tmp_path / "run" / "models" / "fedavg.safetensors").exists()


def test_a_gpu_that_nobody_used_leaves_forks_able_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pool.forked_can_train()
