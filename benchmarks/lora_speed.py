"""Seconds of a training step with the course's LoRA and with peft's, paired.

    python benchmarks/lora_speed.py [--pairs 20] [--tokens 48]

Both adapt the same linear layers of the text encoder (rank 8) and take turns, so that
a busy machine slows both.  Prints the median step of each and the median of the paired
ratios with its range over the middle half.
"""

import argparse
import copy
import time

import numpy as np
import torch

from course_lib.methods import lora
from course_lib.models import zoo

TARGETS = ("query", "value")


def step(model, optimizer, tokens):
    """One forward, backward and update; seconds."""
    began = time.perf_counter()
    loss = model(**tokens).last_hidden_state.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - began


def main():
    """Run the pairs and print the ratio."""
    from peft import LoraConfig, get_peft_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    encoder = zoo.load("minilm").model.train()
    config = LoraConfig(r=8, lora_alpha=16, target_modules=list(TARGETS))
    models = [
        lora.inject(copy.deepcopy(encoder), TARGETS, r=8, alpha=16),
        get_peft_model(copy.deepcopy(encoder), config),
    ]
    learning = [[p for p in m.parameters() if p.requires_grad] for m in models]
    assert len({sum(p.numel() for p in ps) for ps in learning}) == 1
    optimizers = [torch.optim.AdamW(ps, lr=1e-3) for ps in learning]
    ids = torch.randint(1000, 20_000, (16, arguments.tokens))
    tokens = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    seconds = np.array(
        [
            [step(m, o, tokens) for m, o in zip(models, optimizers)]
            for _ in range(arguments.pairs + 2)
        ]
    )[2:]  # the first two warm up
    ratio = seconds[:, 0] / seconds[:, 1]
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
    ours, theirs = np.median(seconds, axis=0)
    print(f"course_lib {1000 * ours:.0f} ms, peft {1000 * theirs:.0f} ms a step")
    print(f"ratio {middle:.3f} (middle half of the pairs {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
