"""What is saved of a model: what its files lack, and what they give back."""

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen, unseen
from course_lib.analysis.audit.running import on_device, refused, untouched
from course_lib.analysis.audit.setup import (
    Setup,
    base_layer,
    output_of,
    some_names,
)
from course_lib.errors import CourseError
from course_lib.models import weight_files
from course_lib.models.encoders import quiet
from course_lib.models.features import network

ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
WHOLE = ("model.safetensors", "pytorch_model.bin")
ADAPTED = ("lora_", "ia3_", "vera_", "hada_", "oft_", "boft_", "prompt_embeddings")
PREFIXES = ("base_model.model.", "module.", "_orig_mod.")
EXACT, EXACT_16 = 1e-4, 2e-2  # relative difference of outputs in 32 and in 16 bits


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about the adapter's files, the file given, and a round trip."""
    rows = _input_rows(setup.net)
    if not isinstance(getattr(setup.net, "peft_config", None), Mapping):
        yield from unseen(FOREIGN, "unsaved-head", "unsaved-embeddings")
    else:
        yield from _unsaved_findings(setup.net)
        yield from _embedding_findings(setup)
        if rows is None or base_rows(setup) is None:
            yield Unseen("unsaved-embeddings", FOREIGN if rows is None else "rebuild")
    yield from _vocabulary_findings(setup)
    if rows is None or not hasattr(setup.loop.tokenizer, "__len__"):
        yield Unseen("vocabulary", FOREIGN if rows is None else "tokenizer")
    if setup.run.saved is None:
        yield Unseen("missing-keys", "saved")
    else:
        yield from _key_findings(setup)
    if setup.run.rebuild and setup.batch is not None:
        yield from _round_trip_findings(setup)
    else:
        yield Unseen("round-trip", "batch" if setup.run.rebuild else "rebuild")


# -- what the adapter's file will hold --------------------------------------------


def adapter_state(net: nn.Module, adapter: str) -> dict[str, torch.Tensor]:
    """What save_pretrained of peft writes for an adapter; no network is asked."""
    from peft import get_peft_model_state_dict

    base = getattr(net.peft_config[adapter], "base_model_name_or_path", None) or ""
    local = not base or Path(base).is_dir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model_state_dict(
            net,
            adapter_name=adapter,
            save_embedding_layers="auto" if local else False,
        )


def _memory(tensor) -> tuple:
    return tensor.untyped_storage()._cdata, tensor.storage_offset()


def _unsaved_findings(net):
    """What learns and lies in no file of an adapter."""
    if any(getattr(c, "is_prompt_learning", False) for c in net.peft_config.values()):
        saved = None  # its file holds what the prompt encoder computes
    else:
        states = [adapter_state(net, name) for name in net.peft_config]
        saved = {_memory(t) for state in states for t in state.values()}
    names = ", ".join(map(repr, net.peft_config))
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = (
            "prompt_encoder" in name if saved is None else _memory(parameter) in saved
        )
        if not inside:
            place = name.split(".")[-2]
            yield Finding(
                "unsaved-head",
                name,
                f"it learns, but save_pretrained of adapter {names} leaves it out.",
                f"modules_to_save=[{place!r}] in the adapter's config.",
            )


# -- embeddings -------------------------------------------------------------------


def _input_rows(net) -> int | None:
    """Rows of the input embeddings; None where the network has none to name."""
    try:
        layer = net.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    weight = getattr(base_layer(layer), "weight", None) if layer is not None else None
    return None if weight is None else len(weight)


def base_rows(setup: Setup) -> int | None:
    """Rows of the embeddings of the base as it was published; None if unknown.

    From ``rebuild``, from the config.json of the base's folder, or from the folder of
    the tokenizer.
    """
    if callable(setup.run.rebuild):
        return _input_rows(network(setup.run.rebuild()))
    configs = getattr(setup.net, "peft_config", {})
    folders = [getattr(c, "base_model_name_or_path", None) for c in configs.values()]
    folders.append(getattr(getattr(setup.net, "config", None), "_name_or_path", None))
    for folder in folders:
        file = Path(folder or "") / "config.json"
        if folder and file.is_file():
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            return getattr(config.get_text_config(), "vocab_size", None)
    folder = getattr(setup.loop.tokenizer, "name_or_path", None)
    if folder and Path(folder).is_dir():
        from transformers import AutoTokenizer

        added = len(setup.loop.tokenizer) - len(
            AutoTokenizer.from_pretrained(folder, local_files_only=True)
        )
        rows = _input_rows(setup.net)
        return None if rows is None else rows - max(added, 0)
    return None


def _vocabulary_findings(setup):
    rows, tokens = _input_rows(setup.net), setup.loop.tokenizer
    if rows is not None and hasattr(tokens, "__len__") and len(tokens) > rows:
        yield Finding(
            "vocabulary",
            f"{rows} rows of the embeddings",
            f"the tokenizer has {len(tokens)} tokens: the last have no row at all.",
            "model.resize_token_embeddings(len(tokenizer)), and save the embeddings.",
        )


def _embedding_findings(setup):
    rows = _input_rows(setup.net)
    if rows is None:
        return
    before = base_rows(setup)
    if before is None or before == rows:
        return
    kept = {_memory(t) for n in setup.net.peft_config for t in
            adapter_state(setup.net, n).values()}  # fmt: skip
    deltas = any("trainable_tokens" in n for n, _ in setup.net.named_parameters())
    for end in ("input", "output"):
        layer = getattr(setup.net, f"get_{end}_embeddings", lambda: None)()
        weight = None if layer is None else getattr(base_layer(layer), "weight", None)
        if weight is None or deltas or _memory(weight) in kept:
            continue
        learns = "learn" if weight.requires_grad else "are random, do not learn"
        yield Finding(
            "unsaved-embeddings",
            f"{end} embeddings, {len(weight)} rows instead of {before}",
            f"the new rows {learns} and will not be in the adapter's file.",
            "modules_to_save or trainable_token_indices for the embeddings, or "
            "save_pretrained(..., save_embedding_layers=True).",
        )


# -- a file against the model -----------------------------------------------------


def read_tensors(path) -> dict[str, torch.Tensor]:
    """The tensors of a file, or of the folder of an adapter or a model.

    safetensors, in one file or several, or torch files, of which only tensors are
    read.  Raises CourseError where there are none.
    """
    path = Path(path)
    if path.is_dir():
        file = next(
            (path / n for n in (*ADAPTER, *WHOLE) if (path / n).is_file()), None
        )
        index = path / "model.safetensors.index.json"
        if file is None and index.is_file():
            parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
            return {
                k: v
                for part in sorted(parts)
                for k, v in weight_files.tensors(path / Path(part).name).items()
            }
        path = file or path / ADAPTER[0]
    if not path.is_file():
        raise CourseError(
            f"audit: there are no weights at {path}.\nExpected: a file of tensors, or "
            f"a folder with one of {', '.join((*ADAPTER, *WHOLE))}.\n"
            "Do: give the path that save_pretrained or save_file wrote to."
        )
    return weight_files.tensors(path)


def _plain(state: Mapping) -> dict[str, torch.Tensor]:
    """Tensors by their names without what wrappers put before them."""
    found = {}
    for name, tensor in state.items():
        while any(name.startswith(prefix) for prefix in PREFIXES):
            name = name[next(len(p) for p in PREFIXES if name.startswith(p)) :]
        found[name] = tensor
    return found


def _key_findings(setup):
    stored, net = read_tensors(setup.run.saved), setup.net
    is_adapter = any(mark in name for name in stored for mark in ADAPTED)
    if isinstance(getattr(net, "peft_config", None), Mapping) and is_adapter:
        active = getattr(net, "active_adapters", None) or list(net.peft_config)
        active = active() if callable(active) else active
        expected = _plain(adapter_state(net, active[0]))
    else:
        expected = _plain(net.state_dict())
    stored = _plain(stored)
    there = {_memory(t) for n, t in expected.items() if n in stored}
    lacking = [n for n in expected if n not in stored]
    missing = [n for n in lacking if _memory(expected[n]) not in there]
    unused = [n for n in stored if n not in expected]
    saved = [n for n in unused if "embed" in n]  # by peft, beside the adapter
    own = [n for n, _ in net.named_parameters()]
    saved = [n for n in saved if any(name.endswith(n) for name in own)]
    unused = [n for n in unused if n not in saved]
    both = [n for n in expected if n in stored]
    other = [n for n in both if stored[n].shape != expected[n].shape]
    where = str(setup.run.saved)
    for names, what in (
        (
            missing,
            "the model has them, the file does not: they keep random or old values",
        ),
        (unused, "the file has them, the model does not take them"),
        (other, "their shapes differ"),
    ):
        if names:
            yield Finding(
                "missing-keys",
                f"{where}: {some_names(names)}",
                f"{len(names)} of {len(expected)} tensors: {what}.",
                "build the model as it was trained (same head, same adapter config), "
                "rename the keys, and look at what load_state_dict returns.",
            )
    if not setup.run.training and not (missing or other):
        yield from _value_findings(where, expected, stored)


def _value_findings(where, expected, stored):
    """After loading for use the model must hold what the file holds."""
    off = [
        name
        for name, tensor in expected.items()
        if name in stored
        and tensor.is_floating_point()
        and not torch.allclose(
            tensor.detach().cpu().float(), stored[name].float(), rtol=1e-2, atol=1e-6
        )
    ]
    if off:
        yield Finding(
            "missing-keys",
            f"{where}: {some_names(off)}",
            f"{len(off)} of {len(expected)} tensors have other values in the model "
            "than in the file: it was not loaded, or loaded into another adapter.",
            "load it into the active adapter (set_adapter), and check that no key was "
            "left out.",
        )


# -- there and back ---------------------------------------------------------------


def reloaded(net: nn.Module, rebuild, folder) -> nn.Module:
    """The network saved to a folder and loaded from it by its own library.

    rebuild: f() -> the fresh base network; True: the class's own from_pretrained.
    Adapters of peft go onto that base; other networks by safetensors.
    """
    base = None if rebuild is True else network(rebuild())
    if hasattr(net, "peft_config") and hasattr(net, "get_base_model"):
        from peft import PeftModel

        net.save_pretrained(folder)
        if base is None:
            base = _published_base(net)
        return PeftModel.from_pretrained(base, folder)
    if hasattr(net, "save_pretrained") and hasattr(type(net), "from_pretrained"):
        net.save_pretrained(folder)
        kind = type(net) if base is None else type(base)
        return kind.from_pretrained(folder, local_files_only=True)
    if base is None:
        raise CourseError(
            f"audit: {type(net).__name__} has no from_pretrained of its own.\n"
            "Expected: rebuild as a function that builds the network anew.\n"
            "Do: pass rebuild=lambda: build()."
        )
    from safetensors.torch import load_model, save_model

    save_model(net, str(Path(folder) / "model.safetensors"))
    load_model(base, str(Path(folder) / "model.safetensors"))
    return base


def _published_base(net):
    """The base of an adapter, from the folder that its config names."""
    path = next(iter(net.peft_config.values())).base_model_name_or_path or ""
    if not Path(path).is_dir():
        raise CourseError(
            f"audit: the adapter's base ({path or 'not named'}) is no folder here.\n"
            "Expected: rebuild as a function that builds the base.\n"
            "Do: pass rebuild=lambda: Model.from_pretrained(...)."
        )
    return type(net.get_base_model()).from_pretrained(path, local_files_only=True)


def _output(net, batch) -> torch.Tensor:
    with torch.no_grad():
        net.eval()
        return output_of(net, batch).detach().float()


def _round_trip_findings(setup):
    batch = on_device(setup.net, setup.batch)
    quiet = _quiet()
    with tempfile.TemporaryDirectory() as folder, untouched(setup.net), quiet:
        try:
            before = _output(setup.net, batch)
        except Exception as error:
            raise refused("a forward pass on the batch", error) from error
        try:
            twin = reloaded(setup.net, setup.run.rebuild, folder)
            device = next(setup.net.parameters()).device
            after = _output(twin.to(device), batch)
        except CourseError:
            raise
        except Exception as error:  # each library has errors of its own
            reason = (str(error).splitlines() or [""])[0][:200]
            yield Finding(
                "round-trip",
                type(setup.net).__name__,
                f"what was saved cannot be loaded ({type(error).__name__}: {reason}).",
                "see what the saved folder holds, and save what is missing with it.",
            )
            return
    yield from _difference_findings(setup.net, before, after)


def _difference_findings(net, before, after):
    if before.shape != after.shape:
        difference = f"{tuple(after.shape)} instead of {tuple(before.shape)}"
    else:
        size = float(before.abs().max()) or 1.0
        off = float((after - before).abs().max()) / size
        halves = any(
            p.dtype in (torch.float16, torch.bfloat16) for p in net.parameters()
        )
        if off <= (EXACT_16 if halves else EXACT):
            return
        difference = f"outputs differ by up to {off:.2g} of the largest"
    yield Finding(
        "round-trip",
        type(net).__name__,
        f"saved and loaded again: {difference}.",
        "find what is not in the file: a head, embeddings, buffers that are not "
        "persistent, a setting outside the configuration.",
    )


def _quiet():
    """transformers says nothing of a load that is only a trial."""
    if "transformers" not in sys.modules:
        return nullcontext()
    from transformers.utils import logging

    return quiet(logging)
