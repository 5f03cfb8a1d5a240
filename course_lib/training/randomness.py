"""Where chance comes from: seeds that repeat a run and leave the caller's alone."""

from contextlib import contextmanager

import torch


@contextmanager
def isolated(seed: int, threads: int | None):
    """Dropout draws from ``seed``; the caller's generator and threads come back."""
    before = torch.get_num_threads()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
