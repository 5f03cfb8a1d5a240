#!/usr/bin/env bash
# bitsandbytes 0.50.2 (torch 2.14.1) on a CPU with bfloat16 instructions: a Linear4bit
# that was used once in eval mode repacks its codes for faster answers, and has no
# backward pass from then on, also after model.train().  Training an adapter goes on: a
# UserWarning of autograd, no error, and no gradient reaches what lies below the layer.
# Whoever evaluates between two phases of QLoRA trains only what the residual stream
# carries a gradient to.
#
# Seen on 2026-11-30, the gradient at the input of two layers of 4 bits:
#   trained at once         gradient: True
#   evaluated, then trained gradient: False
# Source: own observation in a lesson whose QLoRA learned nothing after an evaluation.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet torch==2.14.1 bitsandbytes==0.50.2
"$where/env/bin/python" - 2>/dev/null <<'PY'
import sys

import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit

if not has_avx512bf16():
    sys.exit("this processor has no bfloat16 instructions: nothing is repacked here")


def reached(evaluate):
    """Does a gradient reach the input?"""
    torch.manual_seed(0)
    kind = dict(compute_dtype=torch.bfloat16, quant_type="nf4", bias=False)
    net = torch.nn.Sequential(Linear4bit(64, 64, **kind), Linear4bit(64, 64, **kind))
    net = net.to("cpu")
    x = torch.randn(2, 64, dtype=torch.bfloat16, requires_grad=True)
    if evaluate:
        with torch.no_grad():
            net.eval()(x)
    y = net.train()(x)
    if y.requires_grad:
        y.float().square().sum().backward()
    return x.grad is not None and bool(x.grad.any())


seen = {name: reached(name != "trained at once") for name in (
    "trained at once", "evaluated, then trained")}
for name, there in seen.items():
    print(f"{name:24}gradient: {there}")
assert list(seen.values()) == [True, False], "the behaviour changed"
PY
