"""What matching takes from SciPy, imported when first called: a third of a second that clients need not wait for."""

import numpy as np
import numpy.typing as npt

from fedma.matching.bbp.prior import Array
from fedma.matching.bbp.product_cache import Index


def best_columns(scores: Array, *, maximize: bool = False) -> Index:
    """For each row a column, no column twice, of the least total score, or of the highest."""
    from scipy.optimize import linear_sum_assignment

    columns: Index = linear_sum_assignment(scores, maximize=maximize)[1]
    return columns


def log_beta(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Array:
    """Logarithms of the beta function, entry by entry."""
    from scipy.special import gammaln

    values: Array = gammaln(a) + gammaln(b) - gammaln(a + b)
    return values
