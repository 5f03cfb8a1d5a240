"""The plan: what one training run needs, by part."""

import math
from dataclasses import dataclass, replace

from course_lib.memory.counts import SMALLEST_PAGED, activations, constants, states
from course_lib.memory.networks import Architecture, adapters, describe
from course_lib.memory.plan_options import DTYPES, OPTIMIZERS, Options

GB, GIB = 10**9, 2**30
PARTS = {  # in the order of tables and bars
    "quantised": "weights in 4 bits",
    "constants": "their quantisation constants",
    "weights": "weights in 16 or 32 bits",
    "master": "float32 master weights",
    "adapters": "adapters",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "activations": "activations kept",
    "logits": "logits and their copies",
    "backward": "one layer's backward pass",
    "workspace": "largest matrix dequantised",
}
STORED = tuple(PARTS)[:7]  # what `measured` counts too


@dataclass(frozen=True)
class Plan:
    """What one training run needs, as `plan` computes it.

    ``parts``: bytes by the keys of PARTS at the moment that needs most.
    ``transient``: bytes of the logits, and of one layer's backward pass and workspace
    when the logits' copies are gone; only the larger side is in parts.  ``paged``:
    bytes of optimizer states that may lie in the CPU's memory, in no part.
    ``trainable``: numbers that learn.
    """

    model: Architecture
    options: Options
    parts: dict[str, int]
    transient: dict[str, int]
    paged: int
    trainable: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes that the device must have for this, all parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        o = self.options
        how = o.method if o.method == "full" else f"{o.method} r={o.r}"
        return f"{self.model.name}, {how}, {o.batch} x {o.sequence} tokens"


def plan(model, options: Options) -> Plan:
    """Plan the memory of one training run.

    model: see `describe`.  Gradients count in full, as they do when they are
    accumulated.  Left out: the CUDA context, fragmentation, copies made in the
    optimizer's step or by autocast, padding masks, dropout.  Raises CourseError for an
    unknown model or target.  Hu et al. 2022; Dettmers et al. 2022, 2023.
    """
    arch, o = describe(model), options
    if o.attention == "auto":
        o = replace(o, attention=arch.attention)
    full, quantised = o.method == "full", o.method == "qlora"
    b, a = DTYPES[o.dtype], DTYPES[o.adapter_dtype]
    chosen = () if full else adapters(arch, o.targets)
    sizes = [math.prod(shape) for shape in arch.tensors.values()]
    packed = [math.prod(arch.matrices[m]) for m in sorted(arch.quantised)] * quantised
    stream = 4 if quantised and o.prepared else b  # bytes of a number between layers
    parts = dict.fromkeys(PARTS, 0)
    parts["weights"] = stream * (sum(sizes) - sum(packed))
    parts["weights"] += (4 - stream) * arch.float32
    parts["quantised"] = sum(-(-n // 2) for n in packed)
    parts["constants"] = sum(constants(n, o.double_quantisation) for n in packed)
    if full:
        learned, number = sizes, b
        parts["gradients"] = b * sum(sizes)
        if o.master and b < 4:
            parts["master"], number = 4 * sum(sizes), 4
    else:
        learned, number = [n for one in chosen for n in one.tensors(o.r)], a
        parts["adapters"] = parts["gradients"] = a * sum(learned)
    parts["optimizer"], paged = states(learned, number, o.optimizer)
    parts["activations"], layer = activations(arch, chosen, o, stream)
    tokens, casts = o.batch * o.sequence, not full and a != stream
    words = tokens * arch.vocabulary
    output = stream * words * (1 + arch.capped)
    transient = {
        # the model's output, log-softmax, and a gradient of either in float32; of
        # capped logits their tanh too
        "logits": output + words * (4 + 4 + 4),
        # the layer recomputed, and gradients inside it as the tests have found them
        "backward": layer * o.checkpointing
        + tokens * (2 * stream * arch.inner + 8 * arch.hidden * casts),
        "workspace": b * max(packed, default=0),
    }
    later = output + transient["backward"] + transient["workspace"]
    first = transient["logits"] > later
    parts |= transient
    parts |= dict(backward=0, workspace=0) if first else dict(logits=output)
    notes = _notes(arch, chosen, o, stream, paged)
    return Plan(arch, o, parts, transient, paged, sum(learned), notes)


def replan(planned: Plan, **changes) -> Plan:
    """The same plan with some of its options changed."""
    return plan(planned.model, replace(planned.options, **changes))


def _notes(
    arch: Architecture, chosen, o: Options, stream: int, paged: int
) -> tuple[str, ...]:
    notes = _expert_notes(arch, chosen, o, stream) if arch.experts else []
    if o.method == "qlora" and not arch.quantised:
        notes.append(
            "Nothing is stored in 4 bits: transformers hands plain linear layers to "
            "bitsandbytes, and this network has none but its own kinds."
        )
    if 0 < arch.positions < o.sequence:
        notes.append(
            f"{arch.name} has {arch.positions} positions, fewer than the "
            f"{o.sequence} tokens of a sequence."
        )
    if not arch.llama:
        notes.append("Not of Llama's type: activations are a rough estimate.")
    if OPTIMIZERS[o.optimizer][2]:
        notes.append(
            f"{paged / GB:.2f} GB of optimizer states are paged and not counted: they "
            f"may lie in the CPU's memory (tensors of {SMALLEST_PAGED:,} numbers or "
            "more)."
        )
    return tuple(notes)


def _expert_notes(arch: Architecture, chosen, o: Options, stream: int) -> list[str]:
    """What is particular about experts that are stored as one parameter."""
    numbers = sum(map(math.prod, arch.experts.values()))
    share = f"{numbers / arch.parameters:.0%} of the network"
    notes = ["What experts keep for the backward pass is estimated, to about a tenth."]
    if o.method == "qlora":
        cast = ", to which prepare_model_for_kbit_training casts them"
        notes.append(
            f"The experts, {share}, are not quantised: bitsandbytes takes linear "
            f"layers, and they are parameters of their own. They take "
            f"{stream * numbers / GB:.2f} GB in {8 * stream} bits"
            f"{cast * (o.prepared and o.dtype != 'float32')}."
        )
    if o.method != "full":
        adapted = [one for one in chosen if one.name in arch.experts]
        if adapted:
            learned = sum(sum(one.tensors(o.r)) for one in adapted)
            notes.append(
                f"{learned:,} of the numbers that learn are adapters of experts, and "
                "a step makes a copy of the experts' weights with the update added."
            )
        else:
            notes.append(
                f"No adapter sits on the experts, {share}: peft reaches them by "
                "target_parameters alone."
            )
    return notes
