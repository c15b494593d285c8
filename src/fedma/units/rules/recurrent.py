"""Recurrent layers kept whole: a hidden unit owns a row in each gate, and a column of the recurrent matrix."""

from fedma.units.axes import Symbol, concat, split, unify
from fedma.units.call import Call
from fedma.units.registry import rule
from fedma.units.rules.parts import stacked
from fedma.units.values import Symbols, Value

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(op: Call) -> "list[Symbols | Value]":
    """Layers and directions have units of their own; the next layer reads both directions one after the other."""
    x: Value = op.get("input", "data")
    states = op["hx"] if isinstance(op["hx"], list | tuple) else [op["hx"]]
    op.pin(x.symbols[:-1], "time")
    params: list[Value] = op["params"]
    directions = 2 if op["bidirectional"] else 1
    layers: int = op["num_layers"]
    per_cell = len(params) // (layers * directions)
    feature, hidden, cells = x[-1], [], []
    for layer in range(layers):
        made = []
        for direction in range(directions):
            k = layer * directions + direction
            h, c = _cell(op, feature, params[k * per_cell : (k + 1) * per_cell])
            for state, own in zip(states, (h, c), strict=False):
                _starts(op, state, k, own)
            made.append(h)
            hidden.append(h)
            cells.append(c)
        feature = concat(*made)
        op.appear(*made)
    last = [_last(op, kind, shape) for kind, shape in zip((hidden, cells), op.shapes[1:], strict=False)]
    return [(*x.symbols[:-1], Symbol(feature.segments)), *last]


def _cell(op: Call, feature: Symbol, params: list[Value]) -> tuple[Symbol, Symbol]:
    """The units that one cell gives out, and the units it keeps (others when it projects)."""
    w_ih, w_hh, *rest = params
    projection = rest.pop() if rest and len(rest[-1]) == 2 else None
    unify(feature, w_ih[1])
    op.reads(w_ih, 1)
    op.reads(w_hh, 1)
    kept = unify(*(gate for value in (w_ih, w_hh, *rest) for gate in _gates(value[0], GATES[_kind(op)])))
    given = kept
    if projection is not None:
        unify(projection[1], kept)
        op.reads(projection, 1)
        op.appear(kept)
        given = projection[0]
    unify(given, w_hh[1])
    return Symbol(given.segments), Symbol(kept.segments)


def _kind(op: Call) -> str:
    return op.name.removesuffix("_cell")


def _gates(rows: Symbol, gates: int) -> list[Symbol]:
    return split(rows, [rows.size // gates] * gates)


def _starts(op: Call, state: Value, k: int, units: Symbol) -> None:
    """The initial state of one cell; equal numbers for all units say nothing."""
    if state.memory.uniform:
        return
    own = state.deferred.parts()[k] if state.deferred and state.deferred.axis == 0 else state.symbols
    op.pin(own[:-1], "time")
    unify(units, own[-1])


def _last(op: Call, units: list[Symbol], shape: "tuple[int, ...] | None") -> "Symbols | Value":
    """The last states of all cells, stacked."""
    if shape is None:
        return ()
    return stacked([(*op.fixed(shape[1:-1], "time"), own) for own in units], 0)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(op: Call) -> list[Symbols | None]:
    """One step."""
    x = op["input"]
    states = op["hx"] if isinstance(op["hx"], list | tuple) else [op["hx"]]
    params = [op[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if op.args.get(name) is not None]
    units, _ = _cell(op, x[-1], params)
    samples = op.broadcast(x.shape[:-1], x.symbols[:-1], *(state.symbols[:-1] for state in states))
    for state in states:
        if not state.memory.uniform:
            unify(units, state[-1])
    return [(*samples, units) for _ in op.shapes]


@rule("_pack_padded_sequence")
def pack(op: Call) -> list[Symbols | None]:
    """All steps of all sequences under one axis."""
    x: Value = op["input"]
    op.pin(x.symbols[:2], "time")
    rows, sizes = op.shapes
    return [(*op.fixed((rows or ())[:1], "time"), *x.symbols[2:]), op.fixed(sizes or (), "time")]


@rule("_pad_packed_sequence")
def unpack(op: Call) -> list[Symbols | None]:
    """Sequences apart again."""
    data: Value = op["data"]
    op.pin(data.symbols[:1], "time")
    padded, lengths = op.shapes
    return [(*op.fixed((padded or ())[:2], "time"), *data.symbols[1:]), op.fixed(lengths or (), "time")]
