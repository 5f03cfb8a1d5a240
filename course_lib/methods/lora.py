"""LoRA: a low-rank update beside frozen weights (Hu et al. 2022).

    W' = W + s B A,   A (r, k) random,   B (d, r) zero,   s = alpha / r

The layer, its injection into a model, merging, and files that `peft` reads and writes
too.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from course_lib import files
from course_lib.errors import CourseError
from course_lib.models.features import network

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # of peft's names
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq")  # starts of peft that do


def scale(r: int, alpha: float, rank_stabilised: bool = False) -> float:
    """The factor s: alpha / r, or alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023)."""
    return alpha / math.sqrt(r) if rank_stabilised else alpha / r


class LoRALinear(nn.Module):
    """A linear layer W (d, k) with a trainable update s B A of rank at most r.

    ``base`` is frozen.  A is drawn as torch draws linear layers (Kaiming uniform), B
    is zero, so that nothing changes at first.  Input (..., k), output (..., d).  The
    update is computed in the precision of A and B and cast to that of the base's
    output.  Raises CourseError unless 1 <= r.  Hu et al. 2022.
    """

    def __init__(
        self,
        base: nn.Linear,
        r: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        rank_stabilised: bool = False,
    ):
        super().__init__()
        if r < 1:
            raise CourseError(f"LoRALinear: r={r}, expected a rank of 1 or more.")
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.r, self.alpha = r, alpha
        self.scale = scale(r, alpha, rank_stabilised)
        self.rank_stabilised = rank_stabilised
        self.merged = False
        self.base_changed = False  # by `restart`

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.base(x)  # (..., d)
        if self.merged:
            return out
        low = self.dropout(x.to(self.A.dtype)) @ self.A.T  # (..., r)
        return out + (low @ self.B.T * self.scale).to(out.dtype)

    def delta(self) -> torch.Tensor:
        """The update s B A, (d, k)."""
        return self.scale * (self.B @ self.A)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the update to W: afterwards a forward pass costs what it did before.

        Raises CourseError when W is quantised: there is no room for the update.
        """
        if not self.base.weight.is_floating_point():
            raise CourseError(
                "merge: the base weights are quantised "
                f"({type(self.base).__name__}).\nExpected: floating-point weights.\n"
                "Do: load the base in 16 or 32 bits and merge the adapter into that."
            )
        if not self.merged:
            self.base.weight += self.delta().to(self.base.weight.dtype)
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the update out of W again; exact up to rounding of W + sBA."""
        if self.merged:
            self.base.weight -= self.delta().to(self.base.weight.dtype)
            self.merged = False

    def extra_repr(self) -> str:
        return f"r={self.r}, alpha={self.alpha:g}, scale={self.scale:g}"


def _targeted(name: str, targets: Iterable[str]) -> bool:
    """peft's rule: the module's full name, or the end of it after a dot."""
    return any(name == t or name.endswith("." + t) for t in targets)


def inject(
    model,
    targets: Iterable[str],
    r: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    rank_stabilised: bool = False,
    train: Iterable[str] = (),
    seed: int = 0,
):
    """Replace the linear layers called ``targets`` by LoRALinear; freeze all else.

    targets: module names or their last parts, such as ("query", "value").  ``train``:
    modules that learn whole and are saved with the adapter (peft's
    ``modules_to_save``), usually the head.  The A matrices are drawn from ``seed``.
    Changes ``model`` (a Backbone or a module) in place and returns it.  Raises
    CourseError when nothing matches, a match is no linear layer, or LoRA is there.
    """
    net, targets, train = network(model), tuple(targets), tuple(train)
    if layers(net):
        raise CourseError(
            "inject: the model has LoRA layers already. Expected: a model without.\n"
            "Do: merge them (lora.merge), or start from a fresh model."
        )
    chosen = [name for name, _ in net.named_modules() if _targeted(name, targets)]
    whole = [name for name, _ in net.named_modules() if _targeted(name, train)]
    linear = sorted(
        {n.split(".")[-1] for n, m in net.named_modules() if isinstance(m, nn.Linear)}
    )
    if not chosen or (train and not whole):
        missing = targets if not chosen else train
        raise CourseError(
            f"inject: no module is called {', '.join(missing)}.\nExpected: among the "
            f"linear layers {', '.join(linear)}."
        )
    net.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in chosen:
            base = net.get_submodule(name)
            if not isinstance(base, nn.Linear):
                raise CourseError(
                    f"inject: {name} is a {type(base).__name__}, expected a linear "
                    f"layer: {', '.join(linear)}."
                )
            layer = LoRALinear(base, r, alpha, dropout, rank_stabilised)
            net.set_submodule(name, layer.to(base.weight.device))
    for name in whole:
        net.get_submodule(name).requires_grad_(True)
    return model


def layers(model) -> dict[str, LoRALinear]:
    """{dotted name: layer} of every LoRA layer, in the order of the network."""
    found = network(model).named_modules()
    return {name: m for name, m in found if isinstance(m, LoRALinear)}


def _required(model, who: str) -> dict[str, LoRALinear]:
    found = layers(model)
    if not found:
        raise CourseError(
            f"{who}: the model has no LoRA layers. Do: lora.inject first."
        )
    return found


def merge(model):
    """Fold every update into its weights and remove the LoRA layers; returns the model.

    The result has the names and the cost of the model before `inject`.  Raises
    CourseError where a weight is another module's too: the update would change both.
    """
    net = network(model)
    found = _required(model, "merge")
    _not_shared(net, found)
    for name, layer in found.items():
        layer.merge()
        net.set_submodule(name, layer.base)
    return model


def _not_shared(net: nn.Module, found: Mapping[str, LoRALinear]) -> None:
    """CourseError for a LoRA layer whose base weight is tied to another module's."""
    bases = {id(layer.base.weight): name for name, layer in found.items()}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        own = bases.get(id(parameter))
        if own is not None and name != f"{own}.base.weight":
            raise CourseError(
                f"merge: {own} and {name} share one weight (tied embeddings), which "
                "would change in both places.\nExpected: a weight of its own.\n"
                "Do: keep the adapter beside it, or untie them before lora.inject."
            )


def unmerge(model):
    """Undo `LoRALinear.merge` on every layer that is still there; returns the model."""
    for layer in _required(model, "unmerge").values():
        layer.unmerge()
    return model


def parameter_count(shapes: Iterable[tuple[int, int]], r: int) -> int:
    """Trainable parameters of rank r on matrices (d, k): the sum of r (d + k)."""
    return sum(r * (d + k) for d, k in shapes)


# -- other starts, other rates ------------------------------------------------------


def pissa_factors(W: torch.Tensor, r: int, s: float):
    """A (r, k) and B (d, r): s B A is the best approximation of W of rank r.

    The first r singular directions.  Meng, Wang & Zhang 2024 (PiSSA).
    """
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (S[:r] / s).sqrt()  # (r,)
    return root[:, None] * Vh[:r], U[:, :r] * root


def olora_factors(W: torch.Tensor, r: int, s: float):
    """A (r, k) and B (d, r): the first rows of R and columns of Q of W = Q R.

    Büyükakyüz 2024 (OLoRA); s is for the call's sake, as in `pissa_factors`.
    """
    Q, R = torch.linalg.qr(W)
    return R[:r], Q[:, :r]


@torch.no_grad()
def restart(model, factors):
    """Begin from factors of the weights; each base loses what its layer then adds.

    factors: `pissa_factors`, `olora_factors` or another function of (W, r, s).  The
    model computes what it did, up to rounding.  Returns it.  Its A and B belong to the
    changed base, so that `save` refuses them.  Raises CourseError without LoRA layers.
    """
    for layer in _required(model, "restart").values():
        A, B = factors(layer.base.weight, layer.r, layer.scale)
        layer.A.copy_(A)
        layer.B.copy_(B)
        layer.base.weight -= layer.delta()
        layer.base_changed = True
    return model


def plus_rates(model, lr: float, ratio: float = 16.0) -> list[dict]:
    """Parameter groups of LoRA+: each B learns ``ratio`` times as fast as all else.

    Hayou, Ghosh & Yu 2024.  Raises CourseError without LoRA layers.
    """
    fast = [layer.B for layer in _required(model, "plus_rates").values()]
    ids = {id(p) for p in fast}
    learns = [p for p in network(model).parameters() if p.requires_grad]
    slow = [p for p in learns if id(p) not in ids]
    return [dict(params=slow, lr=lr), dict(params=fast, lr=ratio * lr)]


# -- files ------------------------------------------------------------------------


def save(model, folder: str | Path, base: str = "") -> Path:
    """Write the adapter as `peft` does: safetensors and a JSON of settings.

    What is saved: A and B of every layer, and whole every module that learns besides
    (a head given as ``train``).  ``base``: name of the model that it belongs to.
    Returns the folder.  Raises CourseError when layers differ in their settings, and
    after `restart`: beside the original weights its A and B mean something else.
    """
    net, found = network(model), _required(model, "save")
    if any(layer.base_changed for layer in found.values()):
        raise CourseError(
            "save: A and B belong to weights that restart changed (PiSSA, OLoRA).\n"
            "Expected: an adapter of the original weights.\nDo: lora.merge(model), and "
            "save the whole model."
        )
    settings = {(x.r, x.alpha, x.rank_stabilised) for x in found.values()}
    if len(settings) > 1:
        raise CourseError(f"save: layers with different (r, alpha): {settings}.")
    ((r, alpha, rank_stabilised),) = settings
    state, whole = {}, set()
    for name, layer in found.items():
        state[f"{PREFIX}{name}.lora_A.weight"] = layer.A
        state[f"{PREFIX}{name}.lora_B.weight"] = layer.B
    inside = tuple(f"{name}." for name in found)
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and not name.startswith(inside):
            state[PREFIX + name] = parameter
            whole.add(name.rpartition(".")[0])
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base or None,
        "r": r,
        "lora_alpha": alpha,
        "use_rslora": rank_stabilised,
        "target_modules": sorted(found),
        "modules_to_save": sorted(whole) or None,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    folder = Path(folder)
    content = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    files.atomic_write_bytes(folder / WEIGHTS, to_bytes(content, {"format": "pt"}))
    files.atomic_write_bytes(folder / CONFIG, json.dumps(config, indent=1).encode())
    return folder


def load(model, folder: str | Path):
    """Put a saved adapter, ours or peft's, into a fresh base model; returns the model.

    Raises CourseError when a file is missing, is no LoRA adapter, or its shapes are
    not those of this model.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise CourseError(
                f"load: {folder.name}/{name} is missing.\nExpected: a folder written "
                "by lora.save or by peft's save_pretrained."
            )
    config = files.read_json(folder / CONFIG)
    if not isinstance(config, Mapping) or config.get("peft_type") != "LORA":
        raise CourseError(f"load: {folder.name} is no LoRA adapter ({CONFIG}).")
    if config.get("use_dora") or config.get("rank_pattern"):
        raise CourseError(f"load: {folder.name} uses DoRA or several ranks; use peft.")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.startswith(CHANGE_THE_BASE):
        raise CourseError(
            f"load: {folder.name} was begun with init_lora_weights={start!r}, which "
            "changes the base weights.\nExpected: an adapter of the original weights.\n"
            "Do: save it with peft's path_initial_model_for_weight_conversion."
        )
    try:
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CourseError(
            f"load: {folder.name}/{WEIGHTS} is damaged ({error})."
        ) from None
    inject(
        model,
        config["target_modules"],
        config["r"],
        config["lora_alpha"],
        rank_stabilised=bool(config.get("use_rslora")),
        train=config.get("modules_to_save") or (),
    )
    own = {}
    for name, parameter in network(model).named_parameters():
        key = PREFIX + name
        for ours, theirs in (("A", "lora_A.weight"), ("B", "lora_B.weight")):
            if key.endswith(f".{ours}"):
                key = f"{key[: -len(ours)]}{theirs}"
        own[key] = parameter
    for key, value in state.items():
        if key not in own or own[key].shape != value.shape:
            there = "no such parameter" if key not in own else tuple(own[key].shape)
            raise CourseError(
                f"load: {key.removeprefix(PREFIX)} {tuple(value.shape)} does not fit "
                f"this model ({there}).\nExpected: the base model that the adapter was "
                f"trained on ({config.get('base_model_name_or_path') or 'not named'})."
            )
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
    return model
