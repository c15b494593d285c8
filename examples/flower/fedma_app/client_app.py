"""What runs on each SuperNode. Every message starts a new process: import no more than is needed."""

from fedma.engines.flower import make_client_app
from fedma_app.task import client_data, client_model

app = make_client_app(client_model, client_data)
