"""FedMA: match and average one group of units at a time, while the clients adapt the rest.

`algorithm` reads like Algorithm 1 of the paper. It relies on these modules:

- `round_steps`: which layers a round settles, and in which order;
- `participants`: who takes part in a round, and where each client starts;
- `asks`: the messages to the clients;
- `server`: matching and averaging the replies.
"""

from fedma.algorithms.fedma.algorithm import FedMA
from fedma.algorithms.fedma.participants import Later, Newcomers, Rematch
from fedma.algorithms.fedma.state import FedMAState

__all__ = ["FedMA", "FedMAState", "Later", "Newcomers", "Rematch"]
