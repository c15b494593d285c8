"""The laws that every unit graph has to obey, for tests on many models."""

import json

import torch

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units import UnitGraph, tensors, units, weights
from fedma.units.inputs import Inputs, outputs
from fedma.units.resize import rebuild
from fedma.units.verify import difference, in_double, shaken

CONTROLS = 3
"""How many places are left out, one at a time."""


class Laws:
    """One model with shaken numbers in double precision, and what it should give whatever the order of its units."""

    def __init__(self, model, examples, *, tolerance=1e-10):
        self.original, self.examples, self.tolerance = model, examples, tolerance
        self.model, self.inputs = shaken(model), in_double(Inputs.of(examples))
        self.expected = outputs(self.model, self.inputs)

    def gap(self, model) -> float:
        return difference(self.expected, outputs(model, self.inputs))

    def graph(self, front_end=None) -> UnitGraph:
        """The model's graph; deriving it changes nothing, and it survives being written down."""
        before = weights(self.original)
        graph = units(self.original, self.examples, front_end=front_end)
        torch.testing.assert_close(weights(self.original), before, rtol=0, atol=0)
        assert UnitGraph.from_dict(json.loads(json.dumps(graph.to_dict()))) == graph
        assert set(graph.layouts) == set(before)
        assert all(name in str(graph) for name in graph.groups)
        return graph

    def permute(self, graph):
        """Random orders of all groups leave the outputs, also through a state dict."""
        moved = graph.permute(self.model, graph.random_orders(generator(1, "orders")))
        assert self.gap(moved) <= self.tolerance
        again = rebuild(self.model, {})
        again.load_state_dict(moved.state_dict(), strict=True)
        assert self.gap(again) <= self.tolerance
        return moved

    def control(self, moved):
        """With all places moved but one the outputs change."""
        own, other = weights(self.model), weights(moved)
        changed = [name for name in own if not torch.equal(own[name], other[name])]
        tried = 0
        for k in torch.randperm(len(changed), generator=generator(1, "controls")):
            name = changed[k]
            if tried < CONTROLS and self._matters(name):
                tried += 1
                assert self.gap(rebuild(moved, {name: own[name]})) > 10 * self.tolerance, f"{name} could stay as it was"
        assert tried or not changed

    def _matters(self, name) -> bool:
        """Whether the order of a tensor's entries shows at all (in attention a bias of keys has no effect)."""
        tensor = tensors(self.model)[name]
        return self.gap(rebuild(self.model, {name: tensor.flatten().flip(0).view_as(tensor)})) > 1e3 * self.tolerance

    def grow(self, graph):
        """Zero units leave the outputs; slicing them off again is exact."""
        growable = [name for name, group in graph.groups.items() if group.growable]
        grown = {name: graph.groups[name].size + 1 + k % 5 for k, name in enumerate(growable)}
        wide = graph.widen(self.model, grown)
        assert self.gap(wide) <= self.tolerance
        widths = {**graph.widths, **grown}
        assert self._told(graph, wide) in (widths, None)
        narrow = graph.slice(wide, {name: torch.arange(graph.groups[name].size) for name in grown}, widths=widths)
        torch.testing.assert_close(weights(narrow), weights(self.model), rtol=0, atol=0)
        narrow.load_state_dict(self.model.state_dict(), strict=True)
        assert [p.requires_grad for p in wide.parameters()] == [p.requires_grad for p in self.model.parameters()]
        assert all(group.reason for group in graph.groups.values() if not group.growable)

    def _told(self, graph, model):
        """The widths that a model's shapes tell, if they do."""
        try:
            return graph.widths_in(weights(model))
        except GraphError as error:
            return None if "do not tell the widths" in str(error) else error

    def all(self, front_end=None) -> UnitGraph:
        graph = self.graph(front_end)
        self.control(self.permute(graph))
        self.grow(graph)
        return graph
