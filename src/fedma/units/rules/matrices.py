"""Functions of whole matrices: their rows and columns may be ordered where that orders the result alike."""

from fedma.units.axes import Symbol, concat, leaf, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.rules.reduction import when_used
from fedma.units.values import Symbols, Value


@rule("eye")
def eye(op: Call) -> Symbols:
    """Ones where a unit meets itself: rows and columns are the same units."""
    rows, columns = op.shape
    units = leaf(min(rows, columns))
    return _longer(units, rows), _longer(units, columns)


def _longer(units: Symbol, size: int) -> Symbol:
    return units if units.size == size else concat(units, leaf(size - units.size))


def _mixed(op: Call, x: Value) -> Symbols:
    """The axes of a tensor before those of its matrices, which are taken as a whole."""
    op.mix(x.symbols[-2:], x.symbols)
    return x.symbols[:-2]


@rule("trace")
def trace(op: Call) -> Symbols:
    """The sum over a diagonal."""
    x = op["self"]
    if x.shape[0] == x.shape[1]:
        unify(x[0], x[1])
    else:
        op.pin(x.symbols, "trace")
    return _mixed(op, x)


@rule("diagonal", "diagonal_copy", "linalg_diagonal", view=True)
def diagonal(op: Call) -> Symbols:
    """Where a unit meets itself; other diagonals depend on the order."""
    x = op.get("self", "A")
    first, second = op["dim1"] % len(x), op["dim2"] % len(x)
    rest = [symbol for d, symbol in enumerate(x.symbols) if d not in (first, second)]
    if op["offset"] == 0 and x.shape[first] == x.shape[second]:
        return (*rest, unify(x[first], x[second]))
    op.pin([x[first], x[second]], "diagonal")
    return (*rest, leaf(op.shape[-1], pinned="diagonal"))


@rule("diag_embed")
def diag_embed(op: Call) -> Symbols:
    """A diagonal among zeros: rows and columns are the same units."""
    return _embedded(op, op["self"])


@rule("diagonal_backward")
def diagonal_backward(op: Call) -> Symbols:
    """The same."""
    return _embedded(op, op["grad_output"])


def _embedded(op: Call, x: Value) -> Symbols:
    dims = len(op.shape)
    first, second = op["dim1"] % dims, op["dim2"] % dims
    if op["offset"] or op.shape[first] != op.shape[second]:
        op.pin([x[-1]], "diagonal")
    symbols = list(x.symbols[:-1])
    for axis in sorted((first, second)):
        size = op.shape[axis]
        symbols.insert(axis, x[-1] if size == x[-1].size else leaf(size, pinned="diagonal"))
    return tuple(symbols)


@rule("linalg_inv_ex", "linalg_inv", "inverse", "linalg_pinv")
def inverse(op: Call) -> list[Symbols | None]:
    """What rows are of a matrix, columns are of its inverse."""
    x = op.get("self", "A", "input")
    if op.args.get("hermitian"):
        op.pin(x.symbols[-2:], "one triangle of a matrix")
    op.hold(x.symbols[-2:], "a matrix is inverted")
    batch = _mixed(op, x)
    return [(*batch, x[-1], x[-2]), *[batch] * (len(op.shapes) - 1)]


@rule("_linalg_det", "linalg_det", "det", "_linalg_slogdet", "linalg_slogdet", "slogdet", "logdet")
def determinant(op: Call) -> "list[Symbols | Value]":
    """Rows and columns in the same order; the factors that are also given depend on it."""
    x = op.get("self", "A")
    units = unify(x[-2], x[-1])
    op.hold([units], "a determinant")
    batch = _mixed(op, x)
    return [_or_factor(op, k, batch, [units]) for k in range(len(op.shapes))]


def _or_factor(op: Call, number: int, batch: Symbols, units: list[Symbol]) -> "Symbols | Value":
    """A result of one number for each matrix, or a factor that stays in place as soon as somebody uses it."""
    shape = op.shapes[number] or ()
    if len(shape) == len(batch):
        return batch
    return when_used(op, (*batch, *op.fixed(shape[len(batch) :], "factor of a matrix")), units, "factor of a matrix")


@rule("linalg_matrix_exp", "matrix_exp")
def matrix_exp(op: Call) -> Symbols:
    """A power series of a matrix: rows and columns are the same units."""
    units = unify(op["self"][-2], op["self"][-1])
    op.hold([units], "an exponential of a matrix")
    return (*_mixed(op, op["self"]), units, units)


@rule("_linalg_solve_ex", "linalg_solve", "linalg_solve_ex")
def solve(op: Call) -> "list[Symbols | Value]":
    """Rows of the matrix are the units of the right side, columns those of the solution."""
    matrix, right = op["A"], op["B"]
    vector = len(right) == 1 or (len(right) == len(matrix) - 1 and right.shape == matrix.shape[:-1])
    read, made = (-2, -1) if op["left"] else (-1, -2)
    unify(matrix[read], right[-1 if vector or not op["left"] else -2])
    op.hold(matrix.symbols[-2:], "a matrix is inverted")
    columns = () if vector else (right[-1 if op["left"] else -2],)
    batch = op.broadcast(
        op.shape[: len(op.shape) - 1 - len(columns)], matrix.symbols[:-2], right.symbols[: -1 - len(columns)]
    )
    op.mix(matrix.symbols[-2:], [*batch, *columns, *matrix.symbols[-2:]])
    result = (*batch, *((matrix[made], *columns) if op["left"] else (*columns, matrix[made])))
    return [result, *(_or_factor(op, k, batch, list(matrix.symbols[-2:])) for k in range(1, len(op.shapes)))]


@rule("_linalg_svd", "linalg_svdvals")
def singular_values(op: Call) -> "list[Symbols | Value]":
    """Singular values depend on no order; the signs of singular vectors do."""
    x = op["A"]
    op.hold(x.symbols[-2:], "singular values")
    batch, units = _mixed(op, x), list(x.symbols[-2:])
    values = 1 if len(op.shapes) == 3 else 0
    return [
        (*batch, leaf(shape[-1], pinned="singular values"))
        if k == values
        else when_used(op, (*batch, *op.fixed(shape[len(batch) :], "singular vectors")), units, "singular vectors")
        for k, shape in enumerate(op.shapes)
        if shape is not None
    ]


@rule("linalg_cholesky_ex", "linalg_cholesky", "cholesky", "cholesky_inverse", "linalg_qr", "linalg_lu", "lu_unpack")
@rule("linalg_lu_factor", "linalg_lu_factor_ex", "linalg_eig", "linalg_eigvals", "_linalg_eigh", "linalg_eigh")
@rule("linalg_eigvalsh", "linalg_ldl_factor_ex", "linalg_householder_product", "linalg_lstsq", "linalg_lu_solve")
@rule("cholesky_solve", "linalg_solve_triangular")
def triangular(op: Call) -> list[Symbols | None]:
    """One triangle of a matrix, or a factor that is one, depends on the order of rows and columns."""
    for value in op.values:
        op.pin(value.symbols, "triangle of a matrix")
    return [None for _ in op.shapes]


@rule("addr")
def addr(op: Call) -> Symbols:
    """All products of two vectors, and a term broadcast to them."""
    return op.broadcast(op.shape, op["self"].symbols, (op["vec1"][0], op["vec2"][0]))


@rule("block_diag")
def block_diag(op: Call) -> Symbols:
    """Matrices along a diagonal, among zeros."""
    parts: list[Value] = op["tensors"]
    if any(len(part) != 2 for part in parts):
        raise NoRule("no rule for block_diag of tensors that are no matrices")
    return tuple(concat(*(part[axis] for part in parts)) for axis in (0, 1))


@rule("linalg_cross", "cross")
def cross(op: Call) -> Symbols:
    """Vectors of three coordinates, which stay in place."""
    axis = (op["dim"] if op["dim"] is not None else next(d for d, n in enumerate(op.shape) if n == 3)) % len(op.shape)
    both = op.broadcast(op.shape, *(value.symbols for value in op.values))
    op.pin([both[axis]], "coordinates")
    return both


@rule("renorm")
def renorm(op: Call) -> Symbols:
    """Every slice is scaled by its own norm."""
    x, axis = op["self"], op["dim"] % len(op["self"])
    op.mix([symbol for d, symbol in enumerate(x.symbols) if d != axis], [x[axis]])
    return x.symbols


@rule("dist")
def dist(op: Call) -> Symbols:
    """The norm of a difference."""
    first, second = op.values
    shape = tuple(max(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    op.mix(op.broadcast(shape, first.symbols, second.symbols), [])
    return ()


@rule("_pdist_forward", "pdist", "_pdist_backward")
def pairs(op: Call) -> Symbols:
    """Every row with every later one: rows stay in place, and the last axis is summed over."""
    x, others = op["self"], [value for value in op.values if value is not op["self"]]
    op.pin([x[0], *(symbol for value in others for symbol in value.symbols)], "pairs of rows")
    op.mix([x[1]], [x[0]])
    return x.symbols if op.name == "_pdist_backward" else op.fixed(op.shape, "pairs of rows")


@rule("fill_diagonal")
def fill_diagonal(op: Call) -> Symbols:
    """A number where a unit meets itself."""
    x = op["self"]
    if len(x) == 2 and x.shape[0] == x.shape[1]:
        unify(x[0], x[1])
    else:
        op.pin(x.symbols, "diagonal")
    return x.symbols
