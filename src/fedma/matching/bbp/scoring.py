"""The score of a unit in a slot, apart from the fit of its features: the beta-Bernoulli process."""

from dataclasses import dataclass

import numpy as np

from fedma.matching.arrays import Array, Index


@dataclass(frozen=True)
class Scoring:
    """How a unit in a slot is scored, apart from the fit of its features.

    Attributes:
        gamma: mass of the beta process; larger opens more slots.
        clients: how many clients there are (J).
        reference: whether to score as the public reference code does, which ascends no objective.
        limit: how many slots there may be, or None.
        rough: whether inner products are taken in float32 while units are noisy. Where they are not noisy, a unit's fit
            is the small difference of large products.
    """

    gamma: float
    clients: int
    reference: bool = False
    limit: int | None = None
    rough: bool = False

    def popularity(self, owners: Index) -> Array:
        """2 log(m / (J - m)) for m owners.

        The reference code drops the 2 and counts no more than ten owners.
        """
        if self.reference:
            owners = np.minimum(owners, 10)
            return np.log(owners / (self.clients - owners))
        return 2 * np.log(owners / (self.clients - owners))
