"""Two networks, trained apart on different digits, become one without any more training."""

import fedma
from fedma.data import class_counts, load
from fedma.models import build
from fedma.training import Schedule, evaluate, fit

digits = load("digits")
labels = digits.train.labels
parts = [(labels < 6).nonzero().flatten(), (labels > 3).nonzero().flatten()]  # 0 to 5, and 4 to 9

models = []
for j, part in enumerate(parts):
    model = build("cnn", digits.input_shape, 10, seed=j)
    fit(model, digits.train.select(part), Schedule(epochs=15, lr=0.02), seed=0, name=("client", j))
    models.append(model)

counts = class_counts(digits.train, parts, 10)
averaged = fedma.fuse(models, digits.test.inputs[:2], class_counts=counts, matcher="identity")
matched = fedma.fuse(models, digits.test.inputs[:2], class_counts=counts)

for name, network in (
    ("0 to 5", models[0]),
    ("4 to 9", models[1]),
    ("averaged", averaged.model),
    ("matched", matched.model),
):
    print(f"{name:9}{evaluate([network], digits.test).accuracy:6.1%}")
print("width of each group:", matched.widths)
