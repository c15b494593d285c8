"""Messages: their length is that of the real file, and assignments travel as int32."""

import json

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from fedma.algorithms import Ask, Reply
from fedma.algorithms.messages import _CODES, size

tensors = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 12), max_size=3),
    st.sampled_from(list(_CODES)),
)
names = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
settings_ = st.dictionaries(names, st.one_of(st.integers(), st.floats(), names, st.none(), st.lists(names)), max_size=4)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.dictionaries(names, st.dictionaries(names, tensors, max_size=5), max_size=3), settings_)
def test_size_is_that_of_the_real_file(arrays: dict[str, dict[str, torch.Tensor]], values: dict[str, object]) -> None:
    flat = {f"{part}/{name}": tensor for part, named in arrays.items() for name, tensor in named.items()}
    assert size(arrays, values) == len(save(flat, metadata={"settings": json.dumps(values)}))


def test_assignments_travel_as_int32() -> None:
    slots = torch.arange(1000)
    ask = Ask(3, widen={"conv1": slots, "fc1": slots.view(10, 100)})
    assert ask.widen["conv1"].dtype == ask.widen["fc1"].dtype == torch.int32
    assert 2 * 4000 < ask.bytes < 2 * 4000 + 600


def test_a_reply_counts_all_that_it_brings() -> None:
    reply = Reply(0, {"weight": torch.zeros(10, 10)}, torch.tensor([1, 2]), {"loss": 0.5})
    assert 400 + 16 < reply.bytes < 700
