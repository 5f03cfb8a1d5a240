"""What people run into when they adapt a pretrained model: each mistake beside a twin.

Every pair of builders gives the arguments of `audit.audit`: the first with one mistake,
the second is the same set-up without it.  All networks are tiny and random.
"""

import copy
import json
import math

import pytest
import tiny
import torch
from audits import audited
from torch import nn

from course_lib import training
from course_lib.analysis import audit
from course_lib.analysis.audit.running import untouched
from course_lib.errors import CourseError
from course_lib.methods import lora

WORDS = 40
PAIRS = []  # (check, f(wrong, folder) -> arguments of the audit)


def pair(check, what):
    """Register f(wrong, folder) -> arguments of the audit, as a mistake and a twin."""

    def register(build):
        PAIRS.append(pytest.param(check, build, id=f"{check}: {what}"))
        return build

    return register


# -- tiny models ----------------------------------------------------------------------


def llama(layers=4, tied=False, words=WORDS, dtype=torch.float32, **more):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
        use_cache=False,
        **more,
    )
    return LlamaForCausalLM(config).to(dtype)


def bert(num_labels=3, **more):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    small = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            num_hidden_layers=2,
            num_labels=num_labels,
            **small,
            **more,
        )
    )


def with_lora(net, targets=("q_proj", "v_proj"), seed=1, **options):
    """Adapters of peft; drawn B unless ``zero=True``."""
    from peft import LoraConfig, get_peft_model

    zero = options.pop("zero", False)
    cast = options.pop("autocast_adapter_dtype", True)
    if not isinstance(targets, str):
        targets = list(targets)
    options = dict(r=4, lora_alpha=8) | options
    torch.manual_seed(seed)
    net = get_peft_model(
        net,
        LoraConfig(target_modules=targets, init_lora_weights=True, **options),
        autocast_adapter_dtype=cast,
    )
    if not zero:
        with torch.no_grad():
            for name, p in net.named_parameters():
                if "lora_B" in name or "lora_embedding_A" in name:
                    p.normal_(std=0.5)
    return net


def adamw(net, **options):
    learned = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.AdamW(learned, lr=1e-3, **options)


def token_batch(rows=4, length=8, words=WORDS):
    """Rows of equal length, everything counts."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(5, words, (rows, length), generator=draws)
    return dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids.clone())


PAD, END, LONGEST = 0, 1, 12


def answer_batch(pad=PAD, lengths=((3, 2), (4, 5), (2, 1), (3, 7)), left=False):
    """Prompt, answer, end of text and padding; the answer and its end count."""
    draws = torch.Generator().manual_seed(0)
    rows = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, answer in lengths:
        ids = torch.randint(5, WORDS, (prompt + answer,), generator=draws).tolist()
        ids = [*ids, END]
        empty = LONGEST - len(ids)
        labels = [-100] * prompt + ids[prompt:]
        for key, values, fill in (
            ("input_ids", ids, pad),
            ("attention_mask", [1] * len(ids), 0),
            ("labels", labels, -100),
        ):
            padding = [fill] * empty
            rows[key].append(padding + values if left else values + padding)
    return {key: torch.tensor(value) for key, value in rows.items()}


class Tokenizer:
    """A tokenizer as far as the audit looks at it."""

    eos_token_id, name_or_path = END, ""

    def __init__(self, pad=PAD, tokens=WORDS, ids=()):
        self.pad_token_id, self.tokens, self.ids = pad, tokens, dict(ids)

    def __len__(self):
        return self.tokens

    def __call__(self, text):
        return {"input_ids": self.ids[text]}


class Features(nn.Module):
    """A convolution and what is behind it, frozen, and a head that learns."""

    def __init__(self, behind):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), behind, nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(4, 3)
        self.body.requires_grad_(False)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def pictures(n=6):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, 8, 8, generator=draws)
    return x, torch.arange(n) % 3


# -- adapters: where, how strong, whether they learn ----------------------------------


@pair("few-adapters", "one layer of 28")
def _(wrong, folder):
    more = dict(layers_to_transform=[0]) if wrong else {}
    return dict(model=with_lora(llama(), ["q_proj"], **more))


@pair("few-adapters", "a pattern that matches the first block alone")
def _(wrong, folder):
    pattern = r".*layers\.0\.self_attn\.[qk]_proj" if wrong else r".*\.[qk]_proj"
    return dict(model=with_lora(llama(), pattern))


@pair("few-adapters", "the course's own layers")
def _(wrong, folder):
    net = llama()
    lora.inject(net, ["layers.2.mlp.up_proj" if wrong else "up_proj"], r=4, alpha=8)
    return dict(model=net)


@pair("few-adapters", "the head of a language model and nothing else")
def _(wrong, folder):
    return dict(model=with_lora(llama(), ["lm_head"] if wrong else "all-linear"))


@pair("few-adapters", "the router of experts, none on the experts themselves")
def _(wrong, folder):
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=24, vocab_size=WORDS)
    heads = dict(num_attention_heads=2, num_key_value_heads=1, num_local_experts=4)
    net = MixtralForCausalLM(MixtralConfig(**sizes, **heads, num_hidden_layers=4))
    if wrong:
        return dict(model=with_lora(net, ["k_proj"], layers_to_transform=[1, 2]))
    return dict(model=with_lora(net, "all-linear"))


@pair("adapter-scale", "alpha 1, r 16")
def _(wrong, folder):
    return dict(model=with_lora(llama(), r=16, lora_alpha=1 if wrong else 16))


@pair("adapter-scale", "alpha 256, r 8")
def _(wrong, folder):
    return dict(model=with_lora(llama(), r=8, lora_alpha=256 if wrong else 32))


@pair("adapter-scale", "rank-stabilised with alpha for the other rule")
def _(wrong, folder):
    alpha = 64 if wrong else 8
    net = with_lora(llama(), r=64, lora_alpha=alpha, use_rslora=True)
    return dict(model=net)


@pair("adapter-scale", "one layer by alpha_pattern")
def _(wrong, folder):
    pattern = {"v_proj": 200} if wrong else {"v_proj": 4}
    return dict(model=with_lora(llama(), alpha_pattern=pattern))


@pair("adapter-scale", "the course's own layers")
def _(wrong, folder):
    net = llama()
    lora.inject(net, ["q_proj", "v_proj"], r=32, alpha=2 if wrong else 16)
    return dict(model=net)


@pair("frozen-adapter", "loaded for use, trained on with a head of its own")
def _(wrong, folder):
    from peft import PeftModel

    with_lora(bert(), ["query"]).save_pretrained(folder)
    net = PeftModel.from_pretrained(bert(), folder, is_trainable=not wrong)
    if wrong:
        net.base_model.model.classifier.requires_grad_(True)
    net.train()
    return dict(model=net) | (dict(optimizer=adamw(net)) if wrong else {})


@pair("frozen-adapter", "the other of two adapters is trained")
def _(wrong, folder):
    from peft import LoraConfig

    net = with_lora(llama())
    net.add_adapter("second", LoraConfig(target_modules=["q_proj", "v_proj"]))
    net.set_adapter("second")
    if wrong:
        for name, p in net.named_parameters():
            p.requires_grad_("lora" in name and "default" in name)
    return dict(model=net)


@pair("idle-adapter", "loaded under a name that is not active")
def _(wrong, folder):
    with_lora(llama()).save_pretrained(folder)
    net = with_lora(llama(), zero=True)
    net.load_adapter(folder, "trained")
    if not wrong:
        net.set_adapter("trained")
    return dict(model=net.eval(), training=False)


@pair("idle-adapter", "switched off")
def _(wrong, folder):
    net = with_lora(llama()).eval()
    if wrong:
        net.base_model.disable_adapter_layers()
    return dict(model=net, training=False)


@pair("idle-adapter", "the course's layers were never trained")
def _(wrong, folder):
    net = llama()
    lora.inject(net, ["q_proj"], r=4, alpha=8)
    if not wrong:
        for layer in lora.layers(net).values():
            nn.init.normal_(layer.B)
    return dict(model=net.eval(), training=False)


@pair("train-mode", "an adapter loaded with is_trainable=True")
def _(wrong, folder):
    from peft import PeftModel

    with_lora(llama(), lora_dropout=0.1).save_pretrained(folder)
    base = llama().eval()
    net = PeftModel.from_pretrained(base, folder, is_trainable=wrong)
    return dict(model=net, training=False)


@pair("train-mode", "a network used with the statistics of the batch")
def _(wrong, folder):
    one = tiny.resnet()
    one.model.train(wrong)
    return dict(model=one, training=False)


@pair("train-mode", "dropout of a classifier")
def _(wrong, folder):
    net = bert().train(wrong)
    return dict(model=net, training=False)


# -- adapters: what their files hold --------------------------------------------------


def stored(folder, change, name="adapter_model.safetensors"):
    from safetensors.torch import load_file, save_file

    path = folder / name
    save_file(change(load_file(path)), path)
    return folder


@pair("missing-keys", "half of the adapter is not in its file")
def _(wrong, folder):
    net = with_lora(llama())
    net.save_pretrained(folder)
    if wrong:
        stored(folder, lambda s: {k: v for k, v in s.items() if "v_proj" not in k})
    return dict(model=net, saved=folder)


@pair("missing-keys", "keys under another prefix")
def _(wrong, folder):
    net = with_lora(llama())
    net.save_pretrained(folder)
    if wrong:
        stored(
            folder, lambda s: {k.replace("self_attn", "attn"): v for k, v in s.items()}
        )
    return dict(model=net, saved=folder)


@pair("missing-keys", "an adapter of another rank")
def _(wrong, folder):
    with_lora(llama(), r=8 if wrong else 4).save_pretrained(folder)
    return dict(model=with_lora(llama()), saved=folder)


@pair("missing-keys", "never loaded: other values than in the file")
def _(wrong, folder):
    net = with_lora(llama())
    net.save_pretrained(folder)
    used = with_lora(llama(), seed=2) if wrong else net
    return dict(model=used.eval(), saved=folder, training=False)


@pair("missing-keys", "a whole network whose head has another name")
def _(wrong, folder):
    from safetensors.torch import save_file

    net = tiny.mlp()
    rename = {"2.weight": "head.weight", "2.bias": "head.bias"} if wrong else {}
    state = {rename.get(k, k): v for k, v in net.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    return dict(model=net, saved=folder / "weights.safetensors")


@pair("missing-keys", "a whole network saved from data parallel")
def _(wrong, folder):
    from safetensors.torch import save_file

    net = tiny.mlp()
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    if wrong:
        state.pop("module.0.bias")
    save_file(state, folder / "weights.safetensors")
    return dict(model=net, saved=folder / "weights.safetensors")


@pair("unsaved-head", "a classifier thawed by hand")
def _(wrong, folder):
    more = {} if wrong else dict(modules_to_save=["classifier"])
    net = with_lora(bert(), ["query"], **more)
    if wrong:
        net.base_model.model.classifier.requires_grad_(True)
    return dict(model=net)


@pair("unsaved-head", "norms thawed by hand")
def _(wrong, folder):
    more = {} if wrong else dict(modules_to_save=["norm"])
    net = with_lora(llama(), **more)
    if wrong:
        net.base_model.model.model.norm.requires_grad_(True)
    return dict(model=net)


@pair("unsaved-head", "embeddings thawed by hand")
def _(wrong, folder):
    more = {} if wrong else dict(modules_to_save=["embed_tokens"])
    net = with_lora(llama(), **more)
    if wrong:
        net.get_input_embeddings().requires_grad_(True)
    return dict(model=net)


@pair("unsaved-embeddings", "resized, the base can be built")
def _(wrong, folder):
    net = llama()
    net.resize_token_embeddings(WORDS + 2)
    keep = {} if wrong else dict(modules_to_save=["embed_tokens", "lm_head"])
    return dict(model=with_lora(net, **keep), rebuild=llama)


@pair("unsaved-embeddings", "resized, known from the tokenizer's folder")
def _(wrong, folder):
    tokenizer = words_tokenizer()
    tokenizer.save_pretrained(folder)
    tokenizer = type(tokenizer).from_pretrained(folder)
    net = llama(words=len(tokenizer))
    if wrong:
        tokenizer.add_tokens(["<new>"])
        net.resize_token_embeddings(len(tokenizer))
    return dict(model=with_lora(net), tokenizer=tokenizer)


@pair("unsaved-embeddings", "new tokens, of which some are trained and saved")
def _(wrong, folder):
    net = llama(tied=True)
    net.resize_token_embeddings(WORDS + 2)
    keep = {} if wrong else dict(trainable_token_indices=[WORDS, WORDS + 1])
    return dict(model=with_lora(net, **keep), rebuild=lambda: llama(tied=True))


@pair("vocabulary", "more tokens than rows")
def _(wrong, folder):
    return dict(model=llama(), tokenizer=Tokenizer(tokens=WORDS + 3 * wrong))


def words_tokenizer():
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<unk>", *(f"w{i}" for i in range(3, WORDS))]
    core = Core(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = dict(pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=core, **ends)


# -- tied weights ---------------------------------------------------------------------


@pair("untied-weights", "a copy of the head learns alone")
def _(wrong, folder):
    options = dict(modules_to_save=["lm_head"]) if wrong else {}
    return dict(model=with_lora(llama(tied=True), **options))


@pair("untied-weights", "the head was replaced")
def _(wrong, folder):
    net = llama(tied=True)
    if wrong:
        net.lm_head = nn.Linear(16, WORDS, bias=False)
    return dict(model=net)


@pair("untied-weights", "two different tensors were loaded")
def _(wrong, folder):
    from transformers import LlamaForCausalLM

    llama(tied=not wrong).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    return dict(model=LlamaForCausalLM.from_pretrained(folder))


@pair("untied-weights", "the head was quantised, the embeddings were not")
def _(wrong, folder):
    from course_lib.models import quantization

    net = llama(tied=True)
    skip = () if wrong else ("lm_head",)
    quantization.quantize_linear(net, skip=skip)
    for module in net.model.layers:
        module.requires_grad_(False)
    return dict(model=net)


@pair("tied-adapter", "on head and embeddings of one tensor")
def _(wrong, folder):
    net = llama(tied=wrong)
    return dict(model=with_lora(net, ["q_proj", "v_proj", "embed_tokens", "lm_head"]))


@pair("tied-adapter", "on the head alone")
def _(wrong, folder):
    return dict(model=with_lora(llama(tied=wrong), ["q_proj", "v_proj", "lm_head"]))


@pair("tied-adapter", "on the embeddings alone")
def _(wrong, folder):
    net = llama(tied=wrong)
    return dict(model=with_lora(net, ["q_proj", "v_proj", "embed_tokens"]))


@pair("tied-adapter", "blocks that share their weights")
def _(wrong, folder):
    net = llama(layers=2)
    if wrong:
        net.model.layers[1].mlp.up_proj.weight = net.model.layers[0].mlp.up_proj.weight
    lora.inject(net, ["up_proj"], r=4, alpha=8)
    return dict(model=net)


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_merge_into_tied_weights_does(tied):
    """Why `tied-adapter` is a mistake: the merged model is another one."""
    net = with_lora(llama(tied=tied), ["q_proj", "lm_head", "embed_tokens"]).eval()
    batch = unlabelled()
    with torch.no_grad():
        before = net(**batch).logits
        after = net.merge_and_unload()(**batch).logits
    change = ((after - before).abs().max() / before.abs().max()).item()
    assert change > 0.5 if tied else change < 1e-5


# -- optimizer ------------------------------------------------------------------------


def decayed():
    """timm's parameter groups with lr_scale, in AdamW."""
    from timm.optim import param_groups_layer_decay

    one = tiny.vit()
    groups = param_groups_layer_decay(one.model, layer_decay=0.5)
    return one, torch.optim.AdamW(groups, lr=1e-3)


@pair("layer-decay", "no scheduler")
def _(wrong, folder):
    one, optimizer = decayed()
    if not wrong:
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
    return dict(model=one, optimizer=optimizer)


@pair("layer-decay", "a scheduler of torch")
def _(wrong, folder):
    from timm.scheduler import CosineLRScheduler

    one, optimizer = decayed()
    if wrong:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    else:
        scheduler = CosineLRScheduler(optimizer, t_initial=10)
    return dict(model=one, optimizer=optimizer, scheduler=scheduler)


@pair("layer-decay", "a warm-up of transformers")
def _(wrong, folder):
    from timm.scheduler import CosineLRScheduler
    from transformers import get_cosine_schedule_with_warmup

    one, optimizer = decayed()
    if wrong:
        scheduler = get_cosine_schedule_with_warmup(optimizer, 2, 10)
    else:
        scheduler = CosineLRScheduler(
            optimizer, t_initial=10, warmup_t=2, warmup_lr_init=0.0
        )
    return dict(model=one, optimizer=optimizer, scheduler=scheduler)


@pair("layer-decay", "rates set by hand, overwritten by OneCycleLR")
def _(wrong, folder):
    one, optimizer = decayed()
    for group in optimizer.param_groups:
        group["lr"] *= group["lr_scale"]
    rates = [group["lr"] for group in optimizer.param_groups]
    highest = 1e-3 if wrong else rates
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=9)
    return dict(model=one, optimizer=optimizer, scheduler=scheduler)


@pair("zero-rate", "a group that was meant to be frozen")
def _(wrong, folder):
    net = tiny.mlp()
    if not wrong:
        net[0].requires_grad_(False)
    groups = [
        {"params": list(net[0].parameters()), "lr": 0.0},
        {"params": list(net[2].parameters()), "lr": 1e-3},
    ]
    return dict(model=net, optimizer=torch.optim.SGD(groups))


@pair("zero-rate", "a schedule that ends where training begins")
def _(wrong, folder):
    net = tiny.mlp()
    optimizer = adamw(net)
    factor = (lambda step: 0.0) if wrong else (lambda step: min(1.0, step / 2))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return dict(model=net, optimizer=optimizer, scheduler=scheduler)


@pair("half-precision", "all of a model in bfloat16 with AdamW")
def _(wrong, folder):
    net = llama(dtype=torch.bfloat16 if wrong else torch.float32)
    return dict(model=net, optimizer=adamw(net))


@pair("half-precision", "all of a network in float16")
def _(wrong, folder):
    net = tiny.mlp().to(torch.float16 if wrong else torch.float32)
    return dict(model=net, optimizer=adamw(net))


@pair("half-precision", "adapters in bfloat16 on a frozen base in bfloat16")
def _(wrong, folder):
    net = llama(dtype=torch.bfloat16)
    net = with_lora(net, autocast_adapter_dtype=not wrong)
    return dict(model=net, optimizer=adamw(net))


@pair("no-scaler", "float16 without a scaler")
def _(wrong, folder):
    scaler = None if wrong else torch.amp.GradScaler("cpu")
    return dict(model=tiny.mlp(), precision="fp16", scaler=scaler)


@pair("no-scaler", "a scaler that is off")
def _(wrong, folder):
    scaler = torch.amp.GradScaler("cpu", enabled=not wrong)
    return dict(model=tiny.mlp(), precision=torch.float16, scaler=scaler)


@pair("no-scaler", "the range of bfloat16 needs none")
def _(wrong, folder):
    return dict(model=tiny.mlp(), precision="half" if wrong else "bf16")


# -- buffers --------------------------------------------------------------------------


class Average(nn.Module):
    """Subtracts a running mean of its own, with no weights at all."""

    def __init__(self, channels=4):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean((0, 2, 3))[:, None, None], 0.1)
        return x - self.mean


def moving(behind, wrong):
    net = Features(behind).train()
    if not wrong:
        net.body.eval()
    return dict(model=net, optimizer=adamw(net), batch=pictures())


@pair("moving-buffer", "BatchNorm without weights")
def _(wrong, folder):
    return moving(nn.BatchNorm2d(4, affine=False), wrong)


@pair("moving-buffer", "InstanceNorm that keeps statistics")
def _(wrong, folder):
    return moving(nn.InstanceNorm2d(4, track_running_stats=True), wrong)


@pair("moving-buffer", "a running mean of one's own")
def _(wrong, folder):
    return moving(Average(), wrong)


@pair("moving-buffer", "spectral normalisation")
def _(wrong, folder):
    layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))
    with torch.no_grad():  # weights from a file, the vectors still those of the first
        layer.parametrizations.weight.original.normal_()
    return moving(layer.requires_grad_(False), wrong)


@pair("frozen-batchnorm", "a frozen BatchNorm in train mode")
def _(wrong, folder):
    return moving(nn.BatchNorm2d(4).requires_grad_(False), wrong)


# -- labels ---------------------------------------------------------------------------


@pair("labels-on-prompt", "lengths of the prompts")
def _(wrong, folder):
    batch = answer_batch()
    if wrong:
        batch["labels"] = torch.where(
            batch["attention_mask"] > 0, batch["input_ids"], -100
        )
    return dict(model=llama(), batch=batch, prompts=[3, 4, 2, 3])


@pair("labels-on-prompt", "padding before, prompts as texts")
def _(wrong, folder):
    batch = answer_batch(left=True)
    if wrong:  # the last token of one prompt
        row = batch["labels"][1]
        first = int((row != -100).nonzero()[0])
        row[first - 1] = batch["input_ids"][1, first - 1]
    ids = {}
    for row, prompt in zip(range(4), (3, 4, 2, 3)):
        real = batch["input_ids"][row][batch["attention_mask"][row] > 0]
        ids[f"prompt {row}"] = real[:prompt].tolist()
    return dict(
        model=llama(), batch=batch, prompts=list(ids), tokenizer=Tokenizer(ids=ids)
    )


@pair("labels-on-prompt", "without an attention mask")
def _(wrong, folder):
    batch = answer_batch(lengths=((3, 8), (5, 6)))
    del batch["attention_mask"]
    if wrong:
        batch["labels"] = batch["input_ids"].clone()
    return dict(model=llama(), batch=batch, prompts=[3, 5])


@pair("labels-on-padding", "labels are a copy of the input")
def _(wrong, folder):
    batch = answer_batch()
    if wrong:
        batch["labels"] = batch["input_ids"].clone()
    return dict(model=llama(), batch=batch)


@pair("labels-on-padding", "padding before")
def _(wrong, folder):
    batch = answer_batch(left=True)
    if wrong:
        batch["labels"][batch["attention_mask"] == 0] = PAD
    return dict(model=llama(), batch=batch)


@pair("labels-on-padding", "no mask, padding is the end of text")
def _(wrong, folder):
    batch = answer_batch(pad=END)
    mask = batch.pop("attention_mask")
    if wrong:
        batch["labels"] = torch.where(mask == 0, END, batch["labels"])
    return dict(model=llama(), batch=batch, tokenizer=Tokenizer(pad=END))


@pair("shifted-labels", "shifted by the data, and by the model again")
def _(wrong, folder):
    batch = token_batch()
    if wrong:
        batch["labels"] = torch.roll(batch["input_ids"], -1, 1)
        batch["labels"][:, -1] = -100
    return dict(model=llama(), batch=batch)


@pair("no-labels", "the answer was cut off")
def _(wrong, folder):
    batch = answer_batch()
    if wrong:
        batch["labels"][2] = -100
    return dict(model=llama(), batch=batch)


@pair("unlearned-end", "labels of the padding token are dropped")
def _(wrong, folder):
    batch = answer_batch(pad=END)
    if wrong:  # as DataCollatorForLanguageModeling does it
        batch["labels"][batch["labels"] == END] = -100
    return dict(model=llama(), batch=batch, tokenizer=Tokenizer(pad=END))


@pair("unlearned-end", "a mask made from the token")
def _(wrong, folder):
    batch = answer_batch(pad=END)
    if wrong:
        batch["attention_mask"] = (batch["input_ids"] != END).long()
        batch["labels"][batch["attention_mask"] == 0] = -100
    return dict(model=llama(), batch=batch, tokenizer=Tokenizer(pad=END))


@pair("unlearned-end", "padding before")
def _(wrong, folder):
    batch = answer_batch(pad=END, left=True)
    if wrong:
        batch["labels"][:, -1] = -100
    return dict(model=llama(), batch=batch, tokenizer=Tokenizer(pad=END))


# -- a step ---------------------------------------------------------------------------


@pair("lost-gradient", "checkpointing of frozen inputs")
def _(wrong, folder):
    net = with_lora(llama(), zero=True)
    checkpointed(net.base_model.model, wrong)
    return dict(model=net.train(), batch=token_batch())


@pair("lost-gradient", "checkpointing of frozen inputs, while a head learns")
def _(wrong, folder):
    net = with_lora(llama(), zero=True, modules_to_save=["lm_head"])
    net.base_model.model.activation_checkpointing_enable(dict(use_reentrant=wrong))
    net.base_model.model.disable_input_require_grads()
    return dict(model=net.train(), batch=token_batch())


@pair("lost-gradient", "checkpointing of frozen inputs, the course's own layers")
def _(wrong, folder):
    net = llama()
    lora.inject(net, ["q_proj", "v_proj"], r=4, alpha=8)
    checkpointed(net, wrong)
    return dict(model=net.train(), batch=token_batch())


def checkpointed(net, wrong):
    """Each block runs again in the backward pass; wrong: its input takes no gradient"""
    net.activation_checkpointing_enable(dict(use_reentrant=True))
    if wrong:
        net.disable_input_require_grads()
    else:
        net.enable_input_require_grads()


class Detached(nn.Module):
    """Two layers; a detach between them where it is wrong."""

    def __init__(self, wrong):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.wrong = wrong

    def forward(self, x):
        hidden = self.first(x).relu()
        return self.second(hidden.detach() if self.wrong else hidden)


@pair("lost-gradient", "a detach between two layers")
def _(wrong, folder):
    x, y = map(torch.as_tensor, tiny.blobs(12))
    return dict(model=Detached(wrong), batch=(x, y))


@pair("lost-gradient", "features under no_grad, adapters before them")
def _(wrong, folder):
    net = bert()
    net = with_lora(net, ["query"], zero=True, modules_to_save=["classifier"])
    batch = token_batch()
    batch["labels"] = torch.tensor([0, 1, 2, 0])
    if wrong:
        encode = net.base_model.model.bert.encoder.forward
        net.base_model.model.bert.encoder.forward = torch.no_grad()(encode)
    return dict(model=net, batch=batch)


@pair("lost-gradient", "a branch that the loss does not use")
def _(wrong, folder):
    net = tiny.mlp()
    if wrong:
        net.spare = nn.Linear(4, 2)
        net.forward = lambda x: net[2](net[1](net[0](x)))
    x, y = map(torch.as_tensor, tiny.blobs(12))
    return dict(model=net, batch=(x, y))


def token_loss(net, batch, number):
    """Sum over counted tokens, divided by ``number``."""
    logits = net(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    return (
        nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(),
            reduction="sum",
        )
        / number
    )  # fmt: skip


def by_tokens(net, parts):
    number = sum(int((part["labels"][:, 1:] != -100).sum()) for part in parts)
    for part in parts:
        token_loss(net, part, number).backward()


def mean_of_means(net, parts):
    for part in parts:
        (net(**part).loss / len(parts)).backward()


def undivided(net, parts):
    for part in parts:
        nn.functional.cross_entropy(net(part[0]), part[1]).backward()


def divided(net, parts):
    for part in parts:
        (nn.functional.cross_entropy(net(part[0]), part[1]) / len(parts)).backward()


def divided_twice(net, parts):
    number = sum(int((part["labels"][:, 1:] != -100).sum()) for part in parts)
    for part in parts:
        (token_loss(net, part, number) / len(parts)).backward()


def only_last(net, parts):
    for part in parts:
        net.zero_grad()
        (nn.functional.cross_entropy(net(part[0]), part[1])).backward()


@pair("accumulated-loss", "means of unequal numbers of tokens")
def _(wrong, folder):
    accumulate = mean_of_means if wrong else by_tokens
    return dict(model=llama(layers=2), batch=answer_batch(), accumulate=accumulate)


@pair("accumulated-loss", "divided twice")
def _(wrong, folder):
    accumulate = divided_twice if wrong else by_tokens
    return dict(model=llama(layers=2), batch=answer_batch(), accumulate=accumulate)


@pair("accumulated-loss", "not divided at all")
def _(wrong, folder):
    x, y = map(torch.as_tensor, tiny.blobs(12))
    accumulate = undivided if wrong else divided
    return dict(model=tiny.mlp(), batch=(x, y), accumulate=accumulate)


@pair("accumulated-loss", "gradients zeroed between micro-batches")
def _(wrong, folder):
    x, y = map(torch.as_tensor, tiny.blobs(12))
    accumulate = only_last if wrong else divided
    return dict(model=tiny.mlp(), batch=(x, y), accumulate=accumulate)


@pair("nan-loss", "transformers logs NaN as 0")
def _(wrong, folder):
    rows = [{"loss": 2.1, "step": 1}, {"loss": 0.0 if wrong else 1.7, "step": 2}]
    return dict(model=tiny.mlp(), history=rows)


@pair("nan-loss", "a history with NaN")
def _(wrong, folder):
    losses = [0.9, math.nan if wrong else 0.5]
    return dict(model=tiny.mlp(), history=training.History(train_loss=losses))


@pair("nan-loss", "no label in the batch, logged as 0")
def _(wrong, folder):
    batch = answer_batch()
    batch["labels"][: 4 if wrong else 0] = -100
    return dict(model=llama(), batch=batch, history=[1.0, 0.0 if wrong else 0.9])


@pair("nan-loss", "a weight that is no number")
def _(wrong, folder):
    net = tiny.mlp()
    if wrong:
        with torch.no_grad():
            net[0].weight[1, 1] = math.inf
    return dict(model=net, batch=tuple(map(torch.as_tensor, tiny.blobs(12))))


@pair("nan-loss", "a loss that really came down to zero")
def _(wrong, folder):
    return dict(model=tiny.mlp(), history=[1.0, 0.4, 0.0 if wrong else 1e-3, 0.0])


# -- pooling --------------------------------------------------------------------------


def timm_net(**options):
    import timm

    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=3, **options)


@pair("pooling", "timm: mean instead of the class token")
def _(wrong, folder):
    return dict(model=timm_net(**dict(global_pool="avg") if wrong else {}))


@pair("pooling", "timm: maximum instead of the mean")
def _(wrong, folder):
    import timm

    options = dict(global_pool="max") if wrong else {}
    return dict(model=timm.create_model("test_resnet", num_classes=3, **options))


def sentence_encoder(folder, mode="mean_tokens", kind=None):
    """A folder as sentence encoders are published, and a model loaded from it."""
    bert().save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{m}": m == mode for m in ("cls_token", "mean_tokens")}
    about = {"word_embedding_dimension": 16} | modes
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(about))
    return (kind or type(bert())).from_pretrained(folder)


@pair("pooling", "a sentence encoder's mean, the classifier reads the first token")
def _(wrong, folder):
    mode = "mean_tokens" if wrong else "cls_token"
    return dict(model=sentence_encoder(folder, mode))


@pair("pooling", "a loop of one's own that takes the first token")
def _(wrong, folder):
    from transformers import BertModel

    net = sentence_encoder(folder, kind=BertModel)
    return dict(model=net, pooling="cls" if wrong else "mean")


@pair("pooling", "the course's mean over an encoder of the class token")
def _(wrong, folder):
    from transformers import BertModel

    from course_lib.models.text import TextClassifier

    mode = "cls_token" if wrong else "mean_tokens"
    encoder = sentence_encoder(folder, mode, BertModel)
    return dict(model=TextClassifier(encoder, 3))


# -- there and back -------------------------------------------------------------------


@pair("round-trip", "a head that the adapter lacks")
def _(wrong, folder):
    more = {} if wrong else dict(modules_to_save=["classifier"])
    net = with_lora(bert(), ["query"], **more)
    with torch.no_grad():
        net.base_model.model.classifier.weight.add_(1.0) if wrong else None
    return dict(model=net, batch=unlabelled(), rebuild=bert)


def unlabelled():
    batch = token_batch()
    del batch["labels"]
    return batch


@pair("round-trip", "a buffer that is not saved")
def _(wrong, folder):
    def build():
        net = Features(Average())
        del net.body[1].mean
        net.body[1].register_buffer("mean", torch.zeros(4, 1, 1), persistent=not wrong)
        return net

    net = build().eval()
    net.body[1].mean += 0.5
    return dict(model=net, batch=pictures(), rebuild=build)


@pair("round-trip", "a model changed outside its configuration")
def _(wrong, folder):
    net = bert()
    if wrong:
        net.classifier = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 3))
    return dict(model=net, batch=unlabelled(), rebuild=True)


@pair("round-trip", "a setting outside the configuration")
def _(wrong, folder):
    net = llama(layers=2)
    if wrong:
        for layer in net.model.layers:
            layer.self_attn.scaling = 2.0
    return dict(model=net, batch=unlabelled(), rebuild=True)


@pair("round-trip", "a base that was rounded before the adapter came")
def _(wrong, folder):
    llama().save_pretrained(folder / "base")
    net = type(llama()).from_pretrained(folder / "base")
    if wrong:
        with torch.no_grad():
            for p in net.parameters():
                p.copy_((p * 64).round() / 64)
    return dict(model=with_lora(net), batch=unlabelled(), rebuild=True)


@pair("lost-gradient", "both factors of an adapter start at zero")
def _(wrong, folder):
    net = with_lora(llama(), zero=True)
    if wrong:
        with torch.no_grad():
            for name, p in net.named_parameters():
                p.mul_(0.0) if "lora_A" in name else None
    return dict(model=net, batch=token_batch())


@pair("unlearned-end", "the collator of transformers, padding is the end of text")
def _(wrong, folder):
    from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

    tokenizer = words_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token if wrong else "<pad>"
    rows = [{"input_ids": [*range(5, 5 + n), END]} for n in (3, 6, 4)]
    if wrong:
        batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    else:
        rows = [row | {"labels": row["input_ids"]} for row in rows]
        batch = DataCollatorForSeq2Seq(tokenizer)(rows)
    return dict(model=llama(), batch=dict(batch), tokenizer=tokenizer)


# -- all of them ----------------------------------------------------------------------

BESIDE = {  # one mistake that has two sides
    "frozen-adapter": {"unsaved-head"},
    "idle-adapter": set(),
    "no-labels": {"nan-loss"},
    "nan-loss": {"no-labels", "labels-on-prompt"},
    "round-trip": {"unsaved-head", "lost-gradient"},
}


@pytest.mark.slow
@pytest.mark.parametrize("check, build", PAIRS)
def test_the_mistake_is_found_and_its_twin_is_not(check, build, tmp_path):
    for name in ("wrong", "right"):
        (tmp_path / name).mkdir()
    found = audited(**build(True, tmp_path / "wrong"))
    names = {finding.check for finding in found}
    assert check in names, audit.report(found)
    assert names - {check} <= BESIDE.get(check, set()), audit.report(found)
    twin = build(False, tmp_path / "right")
    found = audited(**twin)
    assert not found, audit.report(found)
    # the twin was looked at: its silence means something
    assert check not in (*found.unseen, *found.foreign) or check in SILENT_BY_NATURE


# what makes these a mistake is that the model is of such a kind at all
SILENT_BY_NATURE = {"untied-weights", "tied-adapter"}


def test_every_item_has_a_pair():
    from test_audit import PLANTED

    assert {p.values[0] for p in PAIRS} | set(PLANTED.values()) == set(audit.CHECKS)


# -- other correct set-ups ------------------------------------------------------------


def other_adapters():
    """{method: its configuration}: none of them is LoRA as it is usually set."""
    import peft

    language, places = dict(task_type="CAUSAL_LM"), dict(target_modules=["q_proj"])
    both = dict(target_modules=["q_proj", "v_proj"])
    return {
        "ia3": peft.IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
        "dora": peft.LoraConfig(**both, use_dora=True, r=4, lora_alpha=8),
        "adalora": peft.AdaLoraConfig(
            **both, total_step=9, init_r=4, target_r=2, lora_alpha=8
        ),
        "loha": peft.LoHaConfig(**places, r=4, alpha=4),
        "vera": peft.VeraConfig(**places, r=4),
        "prompt": peft.PromptTuningConfig(**language, num_virtual_tokens=3),
        "prefix": peft.PrefixTuningConfig(**language, num_virtual_tokens=3),
        "norms": peft.LNTuningConfig(),
        "tokens": peft.TrainableTokensConfig(
            target_modules=["embed_tokens"], token_indices=[5, 6]
        ),
    }


METHODS = "ia3 dora adalora loha vera prompt prefix norms tokens".split()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_other_adapters_raise_no_alarm(method):
    from peft import get_peft_model

    torch.manual_seed(0)
    net = get_peft_model(llama(), other_adapters()[method]).train()
    batch = token_batch()
    batch["input_ids"][:, :2] = torch.tensor([5, 6])
    rebuild = None if method == "prefix" else llama
    found = audited(net, adamw(net), batch=batch, rebuild=rebuild)
    assert not found, audit.report(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_nfnet", "test_vit"])
def test_networks_of_timm_raise_no_alarm(name):
    """Of some the last norm of each branch starts at zero, and so do gradients."""
    import timm

    def build():
        return timm.create_model(name, num_classes=3)

    torch.manual_seed(0)
    net = build().train()
    batch = torch.randn(4, 3, 160, 160), torch.tensor([0, 1, 2, 0])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = audited(net, adamw(net), batch=batch, rebuild=build)
    assert not found, audit.report(found)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_models_with_other_labels_raise_no_alarm():
    """Another sequence, or masked words: labels are not the next tokens."""
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    t5 = T5ForConditionalGeneration(
        T5Config(
            vocab_size=WORDS, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            decoder_start_token_id=0,
        )
    )  # fmt: skip
    small = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    masked = BertForMaskedLM(BertConfig(vocab_size=WORDS, num_hidden_layers=2, **small))
    words = token_batch()
    words["labels"] = torch.where(torch.arange(8) == 2, words["input_ids"], -100)
    words["input_ids"][:, 2] = 4
    for net, batch in ((t5, token_batch()), (masked, words)):
        found = audited(net, batch=batch, tokenizer=Tokenizer(), rebuild=True)
        assert not found, audit.report(found)
        assert {"unlearned-end", "shifted-labels"} <= set(found.foreign)


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "OneCycleLR", "SequentialLR"])
def test_schedulers_that_cannot_be_stepped_freely(kind):
    schedulers = torch.optim.lr_scheduler
    net = tiny.mlp()
    optimizer = adamw(net)
    if kind == "ReduceLROnPlateau":
        scheduler = schedulers.ReduceLROnPlateau(optimizer)
    elif kind == "OneCycleLR":  # at its end
        scheduler = schedulers.OneCycleLR(optimizer, 1e-3, total_steps=3)
        for _ in range(2):
            optimizer.step()
            scheduler.step()
    else:
        parts = [schedulers.LinearLR(optimizer), schedulers.StepLR(optimizer, 2)]
        scheduler = schedulers.SequentialLR(optimizer, parts, [2])
    found = audited(net, optimizer, scheduler=scheduler)
    assert not found, audit.report(found)


# -- what the audit leaves as it is ---------------------------------------------------


def test_everything_that_runs_is_undone(tmp_path):
    """Weights, buffers, gradients, modes and generators of a network in training."""
    one = tiny.resnet()
    one.model.train()
    one.model.layer1.eval()
    x, y = torch.rand(6, 3, 32, 32), torch.arange(6) % 3
    nn.functional.cross_entropy(one.model(x), y).backward()
    torch.manual_seed(3)

    def state():
        values = {k: v.clone() for k, v in one.model.state_dict().items()}
        values |= {f"grad {n}": p.grad.clone() for n, p in one.model.named_parameters()}
        return values | {"generator": torch.get_rng_state()}

    before, modes = state(), [m.training for m in one.model.modules()]
    held = [p.grad for p in one.model.parameters()]
    audited(
        one,
        adamw(one.model),
        batch=(x, y),
        accumulate=divided,
        rebuild=lambda: tiny.resnet(seed=1),
    )
    after = state()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert modes == [m.training for m in one.model.modules()]
    assert all(p.grad is g for p, g in zip(one.model.parameters(), held))


def test_a_failure_inside_is_undone_too():
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())
    mean = net[0].running_mean.clone()
    with pytest.raises(RuntimeError, match="inside"), untouched(net):
        net(torch.rand(8, 4))
        net.eval()
        raise RuntimeError("inside")
    assert torch.equal(net[0].running_mean, mean) and net.training


def test_a_scheduler_is_only_copied():
    from timm.scheduler import CosineLRScheduler

    one, optimizer = decayed()
    for scheduler in (
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1),
        CosineLRScheduler(optimizer, t_initial=10, warmup_t=2, warmup_lr_init=0.0),
    ):
        before = copy.deepcopy(scheduler.state_dict())
        rates = [group["lr"] for group in optimizer.param_groups]
        audited(one, optimizer, scheduler=scheduler)
        assert scheduler.state_dict() == before
        assert rates == [group["lr"] for group in optimizer.param_groups]


# -- rates ----------------------------------------------------------------------------


def test_the_rates_are_those_of_the_next_updates():
    from timm.scheduler import CosineLRScheduler

    one, optimizer = decayed()
    ignored = audit.rates(one, optimizer)
    assert (
        {row["lr"] for row in ignored} == {row["next_lr"] for row in ignored} == {1e-3}
    )
    scales = [row["lr_scale"] for row in ignored]
    assert len(set(scales)) > 2 and max(scales) == 1
    scheduler = CosineLRScheduler(optimizer, t_initial=1000, warmup_t=1)
    rows = audit.rates(one, optimizer, scheduler)
    for row, scale in zip(rows, scales):
        assert row["next_lr"] == pytest.approx(1e-3 * scale, rel=1e-3)
        assert row["lr"] == 0  # warm-up begins there
    net = one.model
    assert sum(row["learning"] for row in rows) == sum(
        p.numel() for p in net.parameters()
    )
    text = audit.rate_table(one, optimizer, scheduler).splitlines()
    assert len(text) == len(rows) + 1 and "lr_scale" in text[0]
    assert rows[0]["first"] in text[1] and f"{rows[0]['next_lr']:.2e}" in text[1]


def test_rates_of_groups_without_an_optimizer():
    net = tiny.mlp()
    net[0].requires_grad_(False)
    groups = [{"params": list(net.parameters()), "lr": 0.1, "name": "all"}]
    (row,) = audit.rates(net, groups)
    assert row["group"] == "all" and row["lr"] == row["next_lr"] == 0.1
    assert row["learning"] == 51 and row["parameters"] == 131
    with pytest.raises(CourseError, match="optimizer is a int"):
        audit.rates(net, 3)


# -- inputs that do not fit -----------------------------------------------------------


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(batch=(torch.rand(4, 7), torch.zeros(4))), "a forward pass on the batch"),
        (dict(batch=(torch.rand(4, 4),) * 3), "a batch of 3 parts"),
        (dict(batch=(torch.rand(4, 4), torch.full((4,), 9))), "a step on the batch"),
        (dict(saved="nowhere.safetensors"), "no weights at nowhere"),
        (dict(batch=torch.rand(2, 4), rebuild=True), "no from_pretrained"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_run_is_said(given, words):
    with pytest.raises(CourseError, match=words) as caught:
        audited(tiny.mlp(), **given)
    assert "Expected: " in str(caught.value) and "Do: " in str(caught.value)


@pytest.mark.parametrize(
    "prompts, words",
    [([3, 4], "2 prompts for a batch of 4"), (["a"] * 4, "does not begin with")],
)
def test_prompts_that_are_not_those_of_the_batch(prompts, words):
    tokenizer = Tokenizer(ids={"a": [2, 2, 2, 2]})
    with pytest.raises(CourseError, match=words):
        audited(llama(), batch=answer_batch(), prompts=prompts, tokenizer=tokenizer)


def test_a_file_with_code_is_not_run(tmp_path):
    """Only tensors are read: a stand-in for a pickled object is refused."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"cbuiltins\nprint\n(S'run'\ntR.")
    with pytest.raises(CourseError, match="cannot be read as weights"):
        audited(tiny.mlp(), saved=path)
