"""A network of your own, on arrays of your own: FedMA and FedAvg on three clients."""

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale
from torch import nn

from fedma.data import from_arrays
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.report import read, table


class Net(nn.Sequential):
    """Thirteen measurements of a wine to one of three growers."""

    def __init__(self):
        super().__init__(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))


inputs, labels = load_wine(return_X_y=True)
train_inputs, test_inputs, train_labels, test_labels = train_test_split(scale(inputs), labels, random_state=0)
data = from_arrays((train_inputs, train_labels), (test_inputs, test_labels))
settings = Settings(model=f"{__name__}:Net", method=("fedma", "fedavg"), clients=3, lr=0.05, batch_size=8)
print(table([read(run(settings, "runs/wine", dataset=data))]))
