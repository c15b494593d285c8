"""NumPy arrays in matching: their types, and functions of SciPy.

SciPy is imported at the first call. The import takes a third of a second, which clients save.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def best_columns(scores: Array, *, maximize: bool = False) -> Index:
    """The linear assignment: one column for each row, no column twice, of the least or the highest total score.

    Args:
        scores: rows × columns, no more rows than columns.
        maximize: whether the total is to be the highest.

    Returns:
        The column of each row.
    """
    from scipy.optimize import linear_sum_assignment

    columns: Index = linear_sum_assignment(scores, maximize=maximize)[1]
    return columns


def log_beta(a: Index, b: Index) -> Array:
    """Logarithms of the beta function, entry by entry."""
    from scipy.special import gammaln

    values: Array = gammaln(a) + gammaln(b) - gammaln(a + b)
    return values


def squares(values: Array, *, axis: int) -> Array:
    """The squares of each row's features, or their sum over the features where the precision axis has one entry.

    Args:
        values: rows × features.
        axis: the length of the precision axis: the number of features, or 1.

    Returns:
        rows × axis. The sum is taken without a copy of the values.
    """
    return values**2 if axis == values.shape[1] else np.einsum("if,if->i", values, values)[:, None]
