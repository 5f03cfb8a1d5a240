#!/usr/bin/env bash
# transformers 5.23.0 with bitsandbytes 0.50.2 (torch 2.14.1): a Falcon model loaded with
# BitsAndBytesConfig(load_in_4bit=True) keeps all its matrices in 16 or 32 bits.  No
# warning; the configuration of the loaded model says that it is quantised.  Only layers
# whose type is exactly torch.nn.Linear are replaced, and Falcon's linear layers are a
# subclass of it.  A Llama of the same size is quantised.  Who plans memory by "4 bits"
# needs four to eight times as much for a Falcon.
#
# Seen on 2026-11-29, two tiny random models saved and loaded again:
#   falcon  0 4-bit layers, says it is quantised: True
#   llama   14 4-bit layers, says it is quantised: True
# Source: own observation while counting stored bytes of many architectures.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet torch==2.14.1 transformers==5.23.0 \
  bitsandbytes==0.50.2 accelerate==1.15.0
"$where/env/bin/python" - "$where" 2>/dev/null <<'PY'
import sys

import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

torch.manual_seed(0)
small = dict(vocab_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=4)
models = {
    "falcon": FalconForCausalLM(FalconConfig(**small)),
    "llama": LlamaForCausalLM(LlamaConfig(**small, intermediate_size=128)),
}
seen = {}
for name, model in models.items():
    folder = f"{sys.argv[1]}/{name}"
    model.save_pretrained(folder)
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    loaded = AutoModelForCausalLM.from_pretrained(folder, quantization_config=four)
    layers = sum(type(m).__name__ == "Linear4bit" for m in loaded.modules())
    seen[name] = layers, bool(getattr(loaded, "is_loaded_in_4bit", False))
    print(name, layers, "4-bit layers, says it is quantised:", seen[name][1])
assert seen == {"falcon": (0, True), "llama": (14, True)}, "the behaviour changed"
PY
