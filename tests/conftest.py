"""For all tests: no GPU, whose sums are not the same bit by bit, and one thread, since the models are small and several
test runs share the machine's cores.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch

torch.set_num_threads(1)
