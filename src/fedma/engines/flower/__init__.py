"""Federated learning across machines, on Flower: the algorithms, their asks and replies are those of the local engine.

    app = make_client_app(model_fn, data_fn)               client_app.py
    Strategy(FedMA(...), expected=...).start(grid)         server_app.py
    Strategy(...).start(InProcessGrid(app, 4))             without machines

Nothing else in the library imports flwr.
"""

try:
    import flwr  # noqa: F401
except ImportError as _error:
    from fedma.errors import MissingExtra

    raise MissingExtra("fedma.engines.flower needs Flower: pip install 'fedma[flower]'") from _error

from fedma.engines.flower.client import LocalTraining, make_client_app
from fedma.engines.flower.grid import InProcessGrid
from fedma.engines.flower.strategy import Strategy

__all__ = ["InProcessGrid", "LocalTraining", "Strategy", "make_client_app"]
