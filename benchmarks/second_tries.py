"""Claims of the ledger, tried a second way.

    python benchmarks/second_tries.py [C32 C71 C77 ...]

Who wrote these lines had no part in the lessons' experiments, and uses nothing of their
code: another network, another task, another classifier or another rounding.  The
refuted claims are here; they should fail here, too.  The qualified ones of lessons 01
to 12, C64 and C78 are in the modules named below, each with what would contradict its
verdict.  The refuted ones here take about a minute, C64 five, C78 ten, all others a
quarter of an hour on one core, offline.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import second_tries_adapters
import second_tries_frozen
import second_tries_harm
import second_tries_pairs
import second_tries_served
import second_tries_shifts
import second_tries_trained
import torch


def c32() -> str:
    """A frozen torchvision ResNet-18 with random weights sees noise in train mode."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    net = resnet18(weights=None).requires_grad_(False).train()
    layers = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [layer.running_var.clone() for layer in layers]
    for _ in range(5):
        net(torch.randn(8, 3, 64, 64))
    moved = sum(
        not torch.equal(a, b.running_var) for a, b in zip(before, layers, strict=True)
    )
    return f"ResNet-18, five batches of noise: {moved} of {len(layers)} layers moved"


def c71() -> str:
    """peft's linear mix of two adapters with random factors on one layer."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["0"], init_lora_weights=False)
    net = get_peft_model(torch.nn.Sequential(torch.nn.Linear(48, 64)), settings, "one")
    net.add_adapter("two", settings)
    net.add_weighted_adapter(["one", "two"], [0.5, 0.5], "mix", "linear")
    layer = net.base_model.model[0]
    one, two, mix = (layer.get_delta_weight(name) for name in ("one", "two", "mix"))
    mean = (one + two) / 2
    error = ((mix - mean).norm() / mean.norm()).item()
    return f"random factors: the mix misses the mean update by {error:.0%} of its size"


def c77() -> str:
    """Split conformal sets of word counts and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from course_lib.datasets import opinions

    texts = {name: opinions.load(name, "train") for name in opinions.DOMAINS}
    home, away = [], []
    for name, data in texts.items():
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(len(data))
            fit, calibrate, test = np.split(order[:1700], (800, 1200))
            words = TfidfVectorizer(min_df=2, ngram_range=(1, 2))
            X = words.fit_transform([data.texts[i] for i in fit])
            model = LogisticRegression(C=3, max_iter=500).fit(X, data.labels[fit])

            def missing(data, rows, model=model, words=words):  # 1 - p of the truth
                p = model.predict_proba(words.transform([data.texts[i] for i in rows]))
                return 1 - p[np.arange(len(rows)), data.labels[rows]]

            scores = np.sort(missing(data, calibrate))
            limit = scores[int(np.ceil(0.9 * (len(scores) + 1))) - 1]
            home.append(np.mean(missing(data, test) <= limit))
            for other, its in texts.items():
                if other != name:
                    rows = np.random.default_rng(seed).permutation(len(its))[:500]
                    away.append(np.mean(missing(its, rows) <= limit))
    return (
        f"word counts, promised 0.90: {np.mean(home):.3f} at home, "
        f"{np.mean(away):.3f} away ({min(away):.2f} to {max(away):.2f})"
    )


LINES = (  # of tutorials, none of them in lesson 00
    "from torchvision.models.utils import load_state_dict_from_url",
    "from torchvision.transforms.functional_tensor import rgb_to_grayscale",
    "from timm.models.layers import trunc_normal_",
    "from timm.data import resolve_data_config",
    "from transformers import AutoModelWithLMHead",
    "from transformers import get_linear_schedule_with_warmup",
    "from peft import prepare_model_for_int8_training",
    "torch.cuda.amp.GradScaler(enabled=False)",
)


def c81() -> str:
    """Other lines of tutorials on the installed versions."""
    outcomes = []
    for line in LINES:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                exec(line, {"torch": torch})  # the lines above and no other
            except Exception:
                outcomes.append("raise")
                continue
        outcomes.append("warn" if heard else "run as printed")
    counts = (f"{outcomes.count(x)} {x}" for x in ("raise", "warn", "run as printed"))
    return f"{len(LINES)} other lines: {', '.join(counts)}"


def c80() -> str:
    """Handwritten digits, served by the twin of the network that was trained on."""
    import timm
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    from course_lib.models import zoo

    right = zoo.load("imagenet/efficientnet-lite0").model.eval()
    twin = timm.create_model("efficientnet_lite0", num_classes=0).eval()
    state = right.state_dict()
    twin.load_state_dict({k: v for k, v in state.items() if k in twin.state_dict()})
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.target))[:900]
    x = torch.tensor(digits.images[rows], dtype=torch.float32)[:, None] / 8 - 1
    x = torch.nn.functional.interpolate(x, size=64, mode="bilinear").repeat(1, 3, 1, 1)
    with torch.no_grad():
        ours, theirs = (
            torch.cat([net.forward_features(b).mean((2, 3)) for b in x.split(100)])
            for net in (right, twin)
        )
    y, lost = digits.target[rows], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(y))
        fit, test = order[:300], order[300:]
        model = LogisticRegression(C=0.1, max_iter=1000).fit(ours[fit], y[fit])
        kept, served = (model.score(X[test], y[test]) for X in (ours, theirs))
        lost.append(kept - served)
    least, mean, most = (100 * f(lost) for f in (min, np.mean, max))
    return (
        f"digits of 64 pixels, served by the twin: {mean:.1f} points lost "
        f"({least:.1f} to {most:.1f} by draw)"
    )


def int4(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to 15 even steps, 32 numbers to a scale."""
    blocks = weight.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 7
    return ((blocks / scale).round() * scale).reshape(weight.shape)


def c82() -> str:
    """Random updates of rank 8, merged into even 4-bit steps instead of NF4."""
    from course_lib.models import language_models

    model, _ = language_models.load("smollm2-135m-instruct")
    weight = next(p for n, p in model.named_parameters() if "up_proj" in n).detach()
    weight, found = int4(weight.float()), []
    generator = torch.Generator().manual_seed(0)
    for share in (0.01, 0.045, 0.3):
        A = torch.randn(8, weight.shape[1], generator=generator)
        U = torch.randn(weight.shape[0], 8, generator=generator) @ A
        U *= share * weight.norm() / U.norm()
        kept = ((int4(weight + U) - weight) * U).sum() / U.square().sum()
        found.append(f"of {share:.1%} {kept:.2f}")
    return f"even 4-bit steps, share kept of an update {', '.join(found)}"


REFUTED = {"C32": c32, "C71": c71, "C77": c77, "C80": c80, "C81": c81, "C82": c82}
MODULES = (
    second_tries_trained,  # lessons 04 and 06
    second_tries_adapters,  # 08
    second_tries_frozen,  # 01, 06, 12
    second_tries_shifts,  # 11
    second_tries_served,  # 11
    second_tries_harm,  # 12
    second_tries_pairs,  # 07
)


def main(names: list[str]) -> None:
    """Print one line a try; a name runs all tries of its claim."""
    tries = dict(REFUTED)
    for module in MODULES:
        tries |= module.TRIES
    for name in sorted(tries):
        if not names or name.split()[0] in names:
            print(f"{name}: {tries[name]()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
