"""One thread for all tests: the models are small, and several test runs share the machine's cores."""

import torch

torch.set_num_threads(1)
