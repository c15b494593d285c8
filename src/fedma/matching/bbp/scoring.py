"""What a place in a slot is worth by itself: the beta-Bernoulli process."""

from dataclasses import dataclass

import numpy as np

from fedma.matching.arrays import Array, Index


@dataclass(frozen=True)
class Rule:
    """What a unit's place in a slot is worth, beside the fit of its features.

    Attributes:
        gamma: mass of the beta process; larger opens more slots.
        clients: how many clients there are (J).
        reference: score as the public reference implementation does, which ascends no objective.
        limit: how many slots there may be, or None.
        rough: take inner products in float32 as long as units are noisy: where they are not, a unit's fit is the small
            difference of large products.
    """

    gamma: float
    clients: int
    reference: bool = False
    limit: int | None = None
    rough: bool = False

    def popularity(self, owners: Index) -> Array:
        """2 log(m / (J - m)) for m owners; the reference drops the 2 and counts no more than ten owners."""
        if self.reference:
            owners = np.minimum(owners, 10)
            return np.log(owners / (self.clients - owners))
        return 2 * np.log(owners / (self.clients - owners))
