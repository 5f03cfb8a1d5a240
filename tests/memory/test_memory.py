"""The memory planner against what small models really store and keep."""

import json
import math
import warnings
import weakref

import psutil
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib import memory, paths
from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.memory import Options
from course_lib.show import memory_bars

torch.set_num_threads(1)
ATTENTION = ("q_proj", "v_proj")


def config(hidden=128, inner=352, layers=4, groups=2, words=1000, **more):
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=groups,
        vocab_size=words,
        max_position_embeddings=2048,
        **{"tie_word_embeddings": False, "use_cache": False} | more,
    )


def live(config, method="full", r=8, targets="all", checkpointing=False, **o):
    """The model that such a plan is about, built for real."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    dtype = getattr(torch, o.get("dtype", "bfloat16"))
    net = LlamaForCausalLM(config).to(dtype)
    return trainable(net, method, r, targets, checkpointing)


def trainable(net, method, r, targets, checkpointing=False):
    if method != "full":
        from peft import LoraConfig, get_peft_model

        if checkpointing:
            net.enable_input_require_grads()
        names = "all-linear" if targets == "all" else list(targets)
        net = get_peft_model(net, LoraConfig(r=r, target_modules=names))
    if checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.gradient_checkpointing_enable()
    return net.train()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small decoder of Llama's type, saved for loading in 4 bits."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("small")
    LlamaForCausalLM(config(256, 704, layers=3)).save_pretrained(where)
    return where


def in_4_bits(folder, double=True, prepared=False, r=8):
    """As bitsandbytes and peft load it, with adapters on every linear layer."""
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    net = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=how
    )
    if prepared:
        net = prepare_model_for_kbit_training(net, use_gradient_checkpointing=False)
    return trainable(net, "qlora", r, "all")


def tokens(net, batch=2, sequence=16):
    gen = torch.Generator().manual_seed(0)
    return torch.randint(0, net.config.vocab_size, (batch, sequence), generator=gen)


def step(net, make=torch.optim.AdamW):
    """One training step; the optimizer, gradients are left where they are."""
    optimizer = make([p for p in net.parameters() if p.requires_grad])
    ids = tokens(net)
    net(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    return optimizer


def agree(planned, found, tolerance=0.02):
    for part in memory.STORED:
        expected = pytest.approx(found[part], rel=tolerance)
        assert planned.parts[part] == expected, part
    assert sum(found.values()) > 1e6


# -- what is stored -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        dict(method="full", dtype="float32"),
        dict(method="full", dtype="bfloat16", master=False),
        dict(method="lora", r=8, targets=ATTENTION),
        dict(method="lora", r=16, dtype="float32"),
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_stored_bytes_in_16_and_32_bits(options):
    shapes = config(256, 704)
    net = live(shapes, **options)
    agree(memory.plan(shapes, Options(**options)), memory.measured(net, step(net)))


def test_tied_embeddings_are_stored_once():
    options = dict(method="full", dtype="float32", optimizer="sgd momentum")
    shapes = config(words=4000, tie_word_embeddings=True)
    net = live(shapes, **options)
    found = memory.measured(net, step(net, lambda p: torch.optim.SGD(p, 1, 0.9)))
    agree(memory.plan(shapes, Options(**options)), found)
    untied = memory.describe(config(words=4000)).parameters
    assert untied - memory.describe(shapes).parameters == 4000 * 128


@pytest.mark.slow
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("prepared", [True, False])
def test_stored_bytes_in_4_bits(double, prepared, folder):
    net = in_4_bits(folder, double, prepared)
    options = dict(r=8, double_quantisation=double, prepared=prepared)
    found = memory.measured(net, step(net))
    agree(memory.plan(folder, Options("qlora", **options)), found)
    assert found["quantised"] > found["adapters"] > found["constants"] > 0


def test_states_of_8_bit_adam():
    from bitsandbytes.optim import AdamW8bit

    shapes = config(256, 704)
    for r in (8, 32):  # at rank 8 most tensors are too small for 8 bits
        net = live(shapes, "lora", r)
        found = memory.measured(net, step(net, AdamW8bit))
        agree(
            memory.plan(shapes, Options("lora", r=r, optimizer="adamw_8bit")),
            found,
        )


def test_the_course_s_own_layers_are_counted():
    from course_lib.methods import lora
    from course_lib.models import quantization

    shapes = config(256, 704)
    net = quantization.quantize_linear(live(shapes))
    lora.inject(net, ATTENTION, r=8)
    planned = memory.plan(
        shapes, Options("qlora", r=8, targets=ATTENTION, prepared=False)
    )
    parts = planned.parts | {
        # bitsandbytes keeps its two tables anew for each matrix
        "constants": planned.parts["constants"] - len(planned.model.quantised) * 1088
    }
    for part, expected in memory.measured(net).items():
        if part not in ("gradients", "optimizer"):
            assert parts[part] == pytest.approx(expected, rel=0.02), part


# -- what is kept ---------------------------------------------------------------------

RUNS = {
    "full": dict(dtype="float32", groups=4),
    "full, grouped, 16 bits": dict(),
    "full, one group, more tokens": dict(groups=1, batch=3, sequence=96),
    "full, checkpointing": dict(checkpointing=True, batch=4),
    "full, checkpointing, 32 bits": dict(checkpointing=True, dtype="float32"),
    "full, eager": dict(attention="eager"),
    "full, eager, 32 bits": dict(attention="eager", dtype="float32", groups=4),
    "LoRA on q, v": dict(method="lora", targets=ATTENTION),
    "LoRA on q, v, 32 bits": dict(method="lora", targets=ATTENTION, dtype="float32"),
    "LoRA": dict(method="lora", r=16),
    "LoRA, 32 bits": dict(method="lora", dtype="float32", sequence=96),
    "LoRA, checkpointing": dict(method="lora", checkpointing=True),
}


def prepared_run(run):
    """(configuration, options of `plan`) of one of the runs."""
    options = dict(method="full", r=8, batch=2, sequence=64, checkpointing=False)
    options |= {k: v for k, v in run.items() if k != "groups"}
    shapes = config(
        groups=run.get("groups", 2),
        attn_implementation=options.get("attention", "sdpa"),
    )
    return shapes, options | {"master": False}


def saved_for_backward(net, ids):
    """Bytes of storages that autograd keeps, parameters and buffers left out."""
    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    saved, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no address is given out twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = net(input_ids=ids)
    assert out.logits.requires_grad
    return sum(saved.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_activations_are_what_autograd_saves(name):
    shapes, options = prepared_run(RUNS[name])
    net = live(shapes, **options)
    found = saved_for_backward(net, tokens(net, options["batch"], options["sequence"]))
    planned = memory.plan(shapes, Options(**options)).parts["activations"]
    assert planned == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("prepared", [True, False])
def test_activations_in_4_bits(prepared, folder):
    net = in_4_bits(folder, prepared=prepared)
    planned = memory.plan(
        folder,
        Options(
            "qlora", r=8, batch=2, sequence=64, checkpointing=False, prepared=prepared
        ),
    )
    found = saved_for_backward(net, tokens(net, 2, 64))
    assert planned.parts["activations"] == pytest.approx(found, rel=0.05)


def test_lora_in_16_bits_keeps_more_than_full_fine_tuning():
    kept = {}
    for method in ("full", "lora"):
        net = live(config(), method)
        kept[method] = saved_for_backward(net, tokens(net, 2, 64))
    assert kept["lora"] > 1.2 * kept["full"]
    shapes = config()
    options = dict(checkpointing=False, r=8)
    same = memory.plan(shapes, Options("lora", **options, adapter_dtype="bfloat16"))
    full = memory.plan(shapes, Options("full", **options))
    assert same.parts["activations"] < full.parts["activations"]


class Alive(TorchDispatchMode):
    """Highest sum of the bytes of all storages alive, from these tensors on."""

    def __init__(self, *tensors):
        super().__init__()
        self.now = self.top = 0
        self.bytes = {}
        for tensor in tensors:
            self.add(tensor)

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.bytes:
            self.bytes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.top = max(self.top, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key):
        self.now -= self.bytes.pop(key)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return out


PEAKS = {
    "large vocabulary": dict(words=4000),
    "large vocabulary, 32 bits": dict(words=4000, dtype="float32"),
    "checkpointing": dict(words=4000, checkpointing=True),
    "LoRA, checkpointing": dict(words=4000, method="lora", checkpointing=True),
    "LoRA, a layer larger": dict(words=100, method="lora", checkpointing=True),
    "LoRA on q, v": dict(
        words=100, method="lora", targets=ATTENTION, checkpointing=True, inner=704
    ),
    "full, a layer larger": dict(words=100, checkpointing=True, dtype="float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PEAKS)
def test_the_total_is_the_peak_of_a_step_with_accumulated_gradients(name):
    """Live tensors of two backward passes and an update, counted one by one."""
    options = dict(method="full", r=8, batch=4, sequence=64, checkpointing=False)
    options |= PEAKS[name] | {"master": False}
    inner = options.pop("inner", 352)
    shapes = config(inner=inner, words=options.pop("words"))
    net = live(shapes, **options)
    optimizer = step(net)
    optimizer.zero_grad()
    states = [t for state in optimizer.state.values() for t in state.values()]
    ids = tokens(net, options["batch"], options["sequence"])
    with Alive(*net.parameters(), *net.buffers(), *states) as alive:
        for _ in range(2):
            out = net(input_ids=ids, labels=ids)
            out.loss.backward()
            del out
        optimizer.step()
    planned = memory.plan(shapes, Options(**options))
    assert planned.total == pytest.approx(alive.top, rel=0.05)


# -- models ---------------------------------------------------------------------------


@pytest.mark.slow
def test_known_models_have_the_parameters_that_were_published():
    assert {name: memory.describe(name).parameters for name in memory.MODELS} == {
        "LLaMA-65B": 65_285_660_672,
        "Llama-2-7B": 6_738_415_616,
        "Llama-2-13B": 13_015_864_320,
        "Llama-2-70B": 68_976_648_192,
        "Llama-3.1-8B": 8_030_261_248,
        "Llama-3.1-70B": 70_553_706_496,
        "Mistral-7B": 7_241_732_096,
        "Qwen2.5-7B": 7_615_616_512,
        "TinyLlama-1.1B": 1_100_048_384,
    }


@pytest.mark.slow
def test_other_models_by_file_folder_configuration_and_name(tmp_path):
    from transformers import BertConfig, GPT2Config

    from course_lib.models import zoo

    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "gpt2", "quantization_config": {"bits": 4}})
    )
    gpt2 = memory.describe(tmp_path)
    by_file = memory.describe(str(tmp_path / "config.json"))
    assert gpt2.tensors == by_file.tensors
    assert gpt2.parameters == 124_439_808
    assert gpt2.matrices["transformer.h.0.mlp.c_fc"] == (3072, 768)
    assert gpt2.tensors == memory.describe(GPT2Config()).tensors
    bert = memory.describe(BertConfig())
    assert bert.parameters == 109_482_240 and bert.vocabulary == 0
    minilm = memory.describe("minilm")
    net = zoo.load("minilm").model
    assert minilm.parameters == sum(p.numel() for p in net.parameters())
    assert memory.installed() == ["smollm2-135m-instruct", "minilm"]
    assert all(memory.describe(name).parameters for name in memory.installed())
    note = memory.plan("minilm", Options("lora", r=4)).notes
    assert any("estimate" in line for line in note)


def test_nothing_is_allocated_for_a_plan():
    memory.describe("minilm")  # all imports are done
    before = psutil.Process().memory_info().rss
    large = memory.build(config(4096, 11008, layers=40), "large")
    assert large.parameters > 5e9
    assert psutil.Process().memory_info().rss - before < 100e6


# -- known numbers --------------------------------------------------------------------


def test_7b_by_hand():
    shapes = memory.describe("Llama-2-7B")
    n = shapes.parameters
    tables = 4 * len(shapes.tensors)  # torch's step counts
    for options, each in (
        (dict(), 2 + 2 + 4 + 8),
        (dict(dtype="float32"), 4 + 4 + 8),
        (dict(master=False), 2 + 2 + 4),
        (dict(master=False, optimizer="sgd"), 2 + 2),
    ):
        parts = memory.plan(shapes, Options("full", **options)).parts
        stored = sum(parts[part] for part in memory.STORED)
        assert stored == each * n + tables * ("optimizer" not in options)
    blocks = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    parts = memory.plan(shapes, Options("qlora", prepared=False)).parts
    assert parts["quantised"] == blocks / 2
    assert parts["weights"] == 2 * (n - blocks)
    double = blocks / 64 + blocks / 64 / 256 * 4
    assert parts["constants"] == pytest.approx(double, rel=0.003)
    parts = memory.plan(shapes, Options("qlora", double_quantisation=False)).parts
    assert parts["constants"] == pytest.approx(blocks / 16, rel=0.001)
    assert parts["weights"] == 4 * (n - blocks)
    r = 16 * 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert parts["adapters"] == parts["gradients"] == 4 * r


def test_paged_states_are_not_counted_but_shown():
    large, small = (
        memory.plan("Llama-2-7B", Options("qlora", r=r, optimizer="paged_adamw_32bit"))
        for r in (64, 8)
    )
    assert large.options.optimizer == "paged adamw"
    assert large.paged + large.parts["optimizer"] == 8 * large.trainable
    assert large.paged == 8 * large.trainable
    # at rank 8 no tensor has 100,000 numbers: 8 x 11008 are 88,064
    assert small.paged == 0 and small.parts["optimizer"] == 8 * small.trainable
    assert any("paged" in line for line in large.notes)


# -- does it fit ----------------------------------------------------------------------


def test_a_card_of_24_gb_has_24_gib():
    assert memory.capacity(24) == 25_769_803_776
    assert memory.capacity(24, "GB") == 24_000_000_000
    planned = memory.plan("Llama-2-7B", Options("qlora"))
    verdict = memory.fits(planned, 24)
    assert verdict.fits and not verdict.changes
    assert verdict.spare == 23 * 2**30 - planned.total
    assert str(verdict).startswith("yes, ")
    exactly = planned.total / 2**30 + 1
    assert memory.fits(planned, exactly + 0.001).fits
    assert not memory.fits(planned, exactly - 0.001).fits
    assert memory.fits(planned, exactly - 0.001, reserve=0.5).fits


def test_what_to_change_is_planned_again():
    planned = memory.plan("Llama-2-7B", Options("full", batch=8, checkpointing=False))
    verdict = memory.fits(planned, 8)
    assert not verdict.fits and "missing" in str(verdict)
    words = [change.text for change in verdict.changes]
    assert words[0] == "gradient checkpointing" and "accumulated over 8" in words[1]
    assert any("QLoRA" in w for w in words)
    before = planned.total
    for change in verdict.changes:
        assert change.saving == before - change.plan.total > 0
        before = change.plan.total
    *rest, last = verdict.changes
    assert last.spare >= 0 and all(change.spare < 0 for change in rest)
    again = memory.plan("Llama-2-7B", last.plan.options)
    assert again.total == last.plan.total and memory.fits(again, 8).fits
    hopeless = memory.fits(memory.plan("Llama-3.1-70B", Options("qlora")), 16).changes
    assert hopeless and hopeless[-1].spare < 0


@pytest.mark.parametrize("what", ["batch", "sequence"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_largest_is_the_last_that_fits(what, attention):
    planned = memory.plan(
        "Llama-2-7B", Options("qlora", checkpointing=False, attention=attention)
    )
    best = memory.largest(planned, 24, what)
    assert best > 1
    assert memory.fits(memory.replan(planned, **{what: best}), 24).fits
    assert not memory.fits(memory.replan(planned, **{what: best + 1}), 24).fits
    assert memory.largest(planned, 4, what) == 0


def test_no_sequence_is_longer_than_the_model_s():
    planned = memory.plan("TinyLlama-1.1B", Options("qlora"))
    assert memory.largest(planned, 80, "sequence") == 2048
    longer = memory.replan(planned, sequence=4096)
    assert any("2048 positions" in line for line in longer.notes)
    with pytest.raises(CourseError, match="batch or sequence"):
        memory.largest(planned, 24, "rank")


# -- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(model="Llama-9"), "no model called.*\n.*Llama-2-7B"),
        (dict(model="bundled/vit-patterns"), "no text model"),
        (dict(method="dora"), "'dora'.*\n.*qlora"),
        (dict(r=0), "rank of 0"),
        (dict(r=2.5), "rank of 2.5"),
        (dict(batch=-2), "batch of -2"),
        (dict(sequence=0), "sequence of 0"),
        (dict(targets=("q_proj", "query")), "called query.*\n.*q_proj, k_proj"),
        (dict(targets=()), "none given"),
        (dict(dtype="int8"), "'int8'"),
        (dict(optimizer="lion"), "'lion'.*\n.*adamw8bit"),
        (dict(attention="flash"), "sdpa, eager"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors_say_what_was_expected(options, words):
    options = dict(options)
    with pytest.raises(CourseError, match=words):
        model = options.pop("model", "Llama-2-7B")
        memory.plan(model, Options(**{"method": "lora"} | options))


@pytest.mark.parametrize(
    "content",
    [
        "{no json",
        "[1, 2]",
        "{}",
        '{"model_type": "abacus"}',
        '{"model_type": "llama", "hidden_size": 100, "num_attention_heads": 0}',
    ],
)
def test_a_config_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CourseError, match="config"):
        memory.plan(tmp_path, Options("full"))


@pytest.mark.parametrize("gigabytes", [0, -1, math.nan, math.inf])
def test_impossible_cards_are_refused(gigabytes):
    with pytest.raises(CourseError, match="not possible"):
        memory.capacity(gigabytes)


# -- for the reader -------------------------------------------------------------------


def test_the_picture_shows_every_part_and_the_card():
    plans = [memory.plan("Llama-2-7B", Options(method)) for method in memory.METHODS]
    ax = memory_bars.picture(plans, 24).axes[0]
    for i, planned in enumerate(plans):
        drawn = sum(bars.patches[i].get_width() for bars in ax.containers)
        assert drawn * 1e9 == pytest.approx(planned.total)
    (line,) = ax.lines
    assert line.get_xdata()[0] == pytest.approx(25.77, abs=0.01)
    (free,) = [p for p in ax.patches if p.get_label() == "of it, kept free"]
    budget = memory.capacity(24) - memory.capacity(1)
    assert free.get_x() * 1e9 == pytest.approx(budget)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "gradients" in labels and "card of 24 GiB" in labels
    colours = {b[0].get_facecolor() for b in ax.containers}
    hatches = {b[0].get_hatch() for b in ax.containers}
    assert len(colours) == len(hatches) == len(ax.containers)  # told apart in grey too
    with pytest.raises(CourseError, match="no plan"):
        memory_bars.picture([])


def test_names_of_the_hub_are_those_of_the_planner(capsys):
    known = {*memory.MODELS, *memory.installed(), "smollm2-135m-instruct"}
    assert set(memory.HUB.values()) <= known
    ours = memory.describe("Llama-3.1-8B")
    for name in ("meta-llama/Llama-3.1-8B", "hf/META-LLAMA/Llama-3.1-8B-Instruct",
                 "https://huggingface.co/meta-llama/Llama-3.1-8B/"):  # fmt: skip
        assert memory.describe(name) is ours
    for typed, near in (
        ("meta-llama/Llama-3.1-8", "meta-llama/Llama-3.1-8B"),
        ("nobody/never", "nobody/never/raw/main/config.json"),
    ):
        assert course(typed, capsys)[0] == 1
        with pytest.raises(CourseError, match=near):
            memory.describe(typed)


def course(line, capsys):
    code = cli.main(["memory", *line.split()])
    return code, *capsys.readouterr()


@pytest.mark.slow
def test_the_command(capsys, tmp_path):
    code, out, _ = course("", capsys)
    names = (*memory.MODELS, *memory.installed())
    assert code == 0 and all(name in out for name in names)
    code, out, _ = course("llama-3.1-8b --sequence 1024 --gb 24", capsys)
    planned = memory.plan("Llama-3.1-8B", Options("qlora", sequence=1024))
    assert code == 0 and "Fits in 24 GB: yes" in out
    assert f"{planned.total / 1e9:.2f}" in out and "25.8 x 10^9" in out
    line = "Llama-2-7B --method full --gb 24 --no-checkpointing --largest batch"
    code, out, _ = course(line, capsys)
    assert code == 0 and "no, " in out and "1. gradient checkpointing: saves" in out
    assert "Largest batch that fits: 0." in out
    code, out, _ = course("Llama-2-7B --sequence 9000", capsys)
    assert code == 0 and "4096 positions" in out
    png = tmp_path / "bars.png"
    code, out, _ = course(f"Llama-2-7B --compare --gb 24 --picture {png}", capsys)
    assert code == 0 and png.read_bytes().startswith(b"\x89PNG")
    assert all(f"{method}: Fits" in out for method in memory.METHODS)


def test_the_command_for_programs(capsys):
    line = "Llama-2-7B --rank 64 --targets q_proj,v_proj --gb 24 --largest batch --json"
    code, out, _ = course(line, capsys)
    found = json.loads(out)
    planned = memory.plan(
        "Llama-2-7B", Options("qlora", r=64, targets=("q_proj", "v_proj"))
    )
    assert code == 0 and found["bytes"] == planned.parts
    assert found["total"] == planned.total and found["card"]["fits"]
    assert found["largest"]["batch"] == memory.largest(planned, 24)
    code, out, _ = course("Llama-2-7B --compare --json", capsys)
    assert list(json.loads(out)) == list(memory.METHODS)


@pytest.mark.parametrize(
    "line, words",
    [
        ("Llama-9", "no model called"),
        ("Llama-2-7B --rank 0", "rank of 0"),
        ("Llama-2-7B --batch -2", "batch of -2"),
        ("Llama-2-7B --targets foo", "called foo"),
        ("Llama-2-7B --targets ,", "none given"),
        ("Llama-2-7B --method dora", "'dora'"),
        ("Llama-2-7B --gb 0", "not possible"),
        ("Llama-2-7B --largest batch", "--gb"),
        ("Llama-2-7B --largest rank --gb 24", "batch or sequence"),
        ("{}", "no configuration"),
    ],
)
def test_the_command_refuses_with_a_message(line, words, capsys):
    code, _, said = course(line.format(paths.ROOT / "README.md"), capsys)
    assert code == 1 and words in said and "Do: " in said
