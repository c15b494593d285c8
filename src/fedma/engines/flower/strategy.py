"""A Flower strategy that runs any of the library's algorithms, several exchanges a round, and loses nothing."""

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NoReturn

import torch
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid, strategy

from fedma.algorithms import Algorithm, Ask, EnsembleState, Reply, State
from fedma.algorithms.base import state_from_dict, state_to_dict
from fedma.algorithms.replies import Expected, parameters
from fedma.engines.flower.exchange import Exchange, Outcome, RecoverableRequest
from fedma.engines.flower.node_registry import NodeRegistry
from fedma.engines.flower.records import Request
from fedma.engines.traffic import Traffic
from fedma.errors import CheckpointError, EngineError
from fedma.result_line import ResultLine
from fedma.units import Weights

_log = logging.getLogger("flwr")


@dataclass(frozen=True)
class Progress:
    """All that the server needs to continue a run after an exchange.

    Attributes:
        run: a name that no other run has.
        plan: the algorithm's settings, in words.
        state: the algorithm's.
        traffic: so far.
        past: by client, the asks of this round that it has answered. Clients that missed an exchange are not in it.
        nodes: node → client.
        lines: one for each exchange and evaluation, for the report.
        seconds: spent so far.
    """

    run: str
    plan: str
    state: State
    traffic: Traffic = field(default_factory=Traffic)
    past: Mapping[int, tuple[Ask, ...]] = field(default_factory=dict)
    nodes: Mapping[int, int] = field(default_factory=dict)
    lines: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        past = {client: tuple(_values(ask) for ask in asks) for client, asks in self.past.items()}
        return {**_values(self), "state": state_to_dict(self.state), "traffic": asdict(self.traffic), "past": past}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], kind: type[State]) -> "Progress":
        """Of these values; the algorithm's state is of this kind.

        Raises:
            CheckpointError: they are of another version.
        """
        try:
            past = {client: tuple(Ask(**ask) for ask in asks) for client, asks in data["past"].items()}
            state, traffic = state_from_dict(kind, data["state"]), Traffic(**data["traffic"])
            return cls(**{**data, "past": past, "state": state, "traffic": traffic})
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint is another version's ({error!r}); begin a new run") from error


class Strategy(strategy.Strategy):
    """Runs an algorithm on a Flower grid.

    Every exchange has a deadline. A client that is away for long, or answers late, is left out for the rest of the
    round. So is a client that sends errors or a bad reply. It is asked again in the next round. A client that has lost
    its weights, because its node was restarted, is sent this round's asks so far; from them it computes exactly the
    same weights again.

    Attributes:
        progress: where the run stands; its `lines` tell what happened.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        expected: Expected,
        min_replies: int = 1,
        patience: float = 150.0,
        pause: float = 1.0,
        keep: Callable[[Mapping[str, Any]], None] = lambda value: None,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        """A strategy for one run.

        Args:
            algorithm: what to run.
            expected: what right replies are like, from `Expected.of(model, graph, classes=...)`; others are refused.
            min_replies: an exchange with fewer ends the run; what was kept goes on from there.
            patience: seconds that a client may be away in an exchange before it is given up. Flower takes a minute to
                notice that a node is gone, and a killed node can come back only after that.
            pause: seconds between looks for replies.
            keep: called after every exchange with all that the server needs to continue, to write it to a file.
            kept: what was kept last, to go on from there.

        Raises:
            CheckpointError: what was kept is of another run.
        """
        self.algorithm = algorithm
        self._least, self._patience, self._pause, self._keep = min_replies, patience, pause, keep
        self._expected = expected
        plan = _plan(algorithm)
        if kept is None:
            self.progress = Progress(secrets.token_hex(8), plan, algorithm.start())
        else:
            self.progress = Progress.from_dict(kept, type(algorithm.start()))
            if self.progress.plan != plan:
                raise CheckpointError(
                    f"the checkpoint is of another run: {self.progress.plan}; not {plan}: name another folder"
                )

    def start(  # type: ignore[override]
        self,
        grid: Grid,
        *,
        timeout: float = 3600.0,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> strategy.Result:
        """Exchange until the algorithm has finished; the global model and what was measured.

        Args:
            grid: where the clients are.
            timeout: seconds, the deadline of every exchange.
            evaluate_fn: judges the global model after each round, given the round from 1 and the weights.

        Raises:
            EngineError: fewer clients answered than `min_replies`.
        """
        result = strategy.Result()
        registry = NodeRegistry(grid, self.progress.nodes)
        began = time.monotonic() - self.progress.seconds
        while asks := self.algorithm.asks(self.progress.state):
            outcome = self._exchange(grid, registry, asks, timeout)
            line = self._absorb(asks, outcome, time.monotonic() - began)
            _log.info("%s", _words(line))
            if not self.progress.state.exchange and evaluate_fn is not None:
                self._evaluate(evaluate_fn)
            self.progress = replace(self.progress, nodes=dict(registry.numbers))
            self._keep(self.progress.to_dict())
        for line in self.progress.lines:
            if "metrics" in line:
                result.evaluate_metrics_serverapp[line["round"]] = MetricRecord(dict(line["metrics"]))
        result.arrays = self.arrays
        return result

    @property
    def arrays(self) -> ArrayRecord:
        """The global model as Flower has it; of several models, each tensor's name begins with its model's number."""
        state = self.progress.state
        if not isinstance(state, EnsembleState):
            return _record(state.weights)
        named = {f"{number}/{name}": own for number, model in enumerate(state.models) for name, own in model.items()}
        return _record(named)

    def summary(self) -> None:
        """Log what is run."""
        _log.info("%s", self.progress.plan)

    def configure_train(self, *_: object, **__: object) -> NoReturn:
        """Not used: this strategy has its own `start`."""
        raise EngineError("this strategy makes several exchanges a round: call its start(grid)")

    aggregate_train = configure_evaluate = aggregate_evaluate = configure_train

    def _exchange(self, grid: Grid, registry: NodeRegistry, asks: Iterable[Ask], timeout: float) -> Outcome:
        """Deliver the asks to those who have missed nothing in this round."""
        requests = {ask.client: request for ask in asks if (request := self._request(ask)) is not None}
        outcome = Exchange(
            grid,
            registry,
            requests,
            deadline=timeout,
            patience=self._patience,
            pause=self._pause,
            expected=self._expected,
        ).run()
        if len(outcome.replies) < self._least:
            raise EngineError(
                f"{len(outcome.replies)} of {len(requests)} clients answered, and at least {self._least} must: "
                + "; ".join(f"client {client}: {why}" for client, why in sorted(outcome.missing.items()))
                + "; start again to go on from the exchange before"
            )
        return outcome

    def _request(self, ask: Ask) -> RecoverableRequest | None:
        """What a client is sent; None where it has missed an exchange of the round.

        The first ask of a round, sent whole, needs no weights that a client holds, or its initial ones alone. So the
        round's asks, one after the other, make again whatever a client has lost.
        """
        run, state, past = self.progress.run, self.progress.state, self.progress.past.get(ask.client, ())
        if state.exchange and not past:
            return None
        tag, before = f"{run}/{state.round}/{state.exchange}", ""
        if past or ask.known:
            last = [line for line in self.progress.lines if "step" in line][-1]
            before = f"{run}/{last['round'] - 1}/{last['step'] - 1}"
        return RecoverableRequest(Request((ask,), tag, before), Request((*past, ask.whole), tag))

    def _absorb(self, asks: Iterable[Ask], outcome: Outcome, seconds: float) -> Mapping[str, Any]:
        """Absorb the replies that came; the line that describes the exchange."""
        progress, before = self.progress, self.progress.state
        answered = [ask for ask in asks if ask.client in outcome.replies]
        replies = [outcome.replies[ask.client] for ask in answered]
        state = self.algorithm.absorb(before, replies)
        traffic = progress.traffic.plus(outcome.sent, replies)
        line = {
            "round": before.round + 1,
            "step": before.exchange + 1,
            "answered": [ask.client for ask in answered],
            "missing": {str(client): why for client, why in sorted(outcome.missing.items())},
            "events": outcome.events,
            "loss": _loss(replies),
            "bytes_up": traffic.up,
            "bytes_down": traffic.down,
            "seconds": round(seconds, 3),
        }
        self.progress = replace(
            progress,
            state=state,
            traffic=traffic,
            past={ask.client: (*progress.past.get(ask.client, ()), ask.whole) for ask in answered}
            if state.exchange
            else {},
            lines=(*progress.lines, line),
            seconds=seconds,
        )
        return line

    def _evaluate(self, judge: Callable[[int, ArrayRecord], MetricRecord | None]) -> None:
        """Add what is measured of the global model."""
        round_ = self.progress.state.round
        metrics = judge(round_, self.arrays)
        if metrics is not None:
            _log.info("round %d: %s", round_, metrics)
            line = {**self._result_line(), "metrics": dict(metrics)}
            self.progress = replace(self.progress, lines=(*self.progress.lines, line))

    def _result_line(self) -> dict[str, Any]:
        """The line of results without measurements on data, which the user's own function returns."""
        progress, state, graph = self.progress, self.progress.state, self._expected.graph
        found, final = graph.widths_in(state.models[0]), not self.algorithm.asks(state)
        by_client: dict[str, Any] = progress.traffic.of(range(1 + max(progress.traffic.by_client))) if final else {}
        line = ResultLine(
            method=type(self.algorithm).__name__.lower(),
            round=state.round,
            accuracy=math.nan,
            loss=None,
            bytes_up=progress.traffic.up,
            bytes_down=progress.traffic.down,
            clients=len(progress.lines[-1]["answered"]),
            local_epochs=progress.traffic.local_epochs,
            samples_seen=progress.traffic.samples_seen,
            parameters=parameters(state.models),
            client_parameters=self._expected.parameters({}),
            widths={group: [width, found[group]] for group, width in graph.widths.items()},
            seconds=round(progress.seconds, 3),
            final=final,
            **by_client,
        )
        values = line.to_dict(optional=by_client.keys())
        return {name: value for name, value in values.items() if name not in ("accuracy", "loss")}


def _plan(algorithm: Algorithm) -> str:
    """The algorithm's settings, in words, without tensors."""
    own = {name: value for name, value in _values(algorithm).items() if name != "initial"}
    own["graph"] = own["graph"].widths
    return f"{type(algorithm).__name__}({', '.join(f'{name}={value!r}' for name, value in sorted(own.items()))})"


def _values(value: Any) -> dict[str, Any]:
    """A dataclass's fields."""
    return {own.name: getattr(value, own.name) for own in fields(value)}


def _record(weights: Weights) -> ArrayRecord:
    """As Flower's users read them; types that NumPy lacks as float32."""
    return ArrayRecord({n: t.float() if t.dtype == torch.bfloat16 else t for n, t in weights.items()})


def _loss(replies: Iterable[Reply]) -> float | None:
    """The clients' mean loss, weighted by samples; None if no client has trained."""
    known = [(reply.metrics["samples"], reply.metrics["loss"]) for reply in replies]
    known = [(samples, loss) for samples, loss in known if math.isfinite(loss)]
    total = sum(samples for samples, _ in known)
    return sum(samples * loss for samples, loss in known) / total if total else None


def _words(line: Mapping[str, Any]) -> str:
    """An exchange, for people."""
    parts = [f"round {line['round']} step {line['step']}: {len(line['answered'])} answered"]
    parts += [f"client {client} is left out: {why}" for client, why in line["missing"].items()]
    return "; ".join([*parts, *line["events"]])
