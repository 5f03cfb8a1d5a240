"""Lesson 00: lines of code as tutorials print them, run on the installed versions.

The steps of a transfer (load, prepare, replace the head, configure, train, quantize,
adapt) in their usual form of 2020 to 2023.  They were picked by hand, so their count is
no share of all tutorials.  Each stands beside today's form of the same step, which
tells a line that has aged from a machine that lacks something.  No weights are fetched:
torchvision's download gives random numbers, and ``folder`` holds a Llama of one layer.
"""

import contextlib
import io
import logging
import re
import tempfile
import textwrap
import warnings
from unittest import mock

LISTINGS = {  # as printed: as of today, None where nothing has changed
    "models.resnet50(pretrained=True)": 'models.resnet50(weights="IMAGENET1K_V1")',
    "network.fc = nn.Linear(network.fc.in_features, 2)": None,
    "transforms.Compose([transforms.Resize(256), transforms.ToTensor()])": None,
    "lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)": None,
    'timm.create_model("resnet18", num_classes=5)': None,
    "from transformers import AdamW": "from torch.optim import AdamW",
    "from transformers import ViTFeatureExtractor": (
        "from transformers import ViTImageProcessor"
    ),
    'TrainingArguments("out", evaluation_strategy="epoch")': (
        'TrainingArguments("out", eval_strategy="epoch")'
    ),
    'TrainingArguments("out", warmup_ratio=0.1)': (
        'TrainingArguments("out", warmup_steps=0.1)'
    ),
    "Trainer(model=model, tokenizer=tokenizer)": (
        "Trainer(model=model, processing_class=tokenizer)"
    ),
    "AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float16)": (
        "AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)"
    ),
    "AutoModelForCausalLM.from_pretrained(folder, load_in_4bit=True)": (
        "AutoModelForCausalLM.from_pretrained(folder, quantization_config="
        "BitsAndBytesConfig(load_in_4bit=True))"
    ),
    'get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))': None,
}
OUTCOMES = ("runs", "warns", "raises")


class Heard(logging.Handler):
    """Keeps the warnings that transformers writes to its log."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def names(folder):
    """What the listings take for granted: {name: module, class or small network}."""
    import timm
    import torch
    import torchvision
    import transformers
    from peft import LoraConfig, get_peft_model

    size = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1)
    heads = dict(num_attention_heads=2, num_key_value_heads=2, vocab_size=64)
    config = transformers.LlamaConfig(**size, **heads)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    network = torchvision.models.resnet18()
    used = ("AutoModelForCausalLM", "BitsAndBytesConfig", "Trainer")
    used = {name: getattr(transformers, name) for name in used}
    return used | dict(
        LoraConfig=LoraConfig,
        TrainingArguments=transformers.TrainingArguments,
        folder=folder,
        get_peft_model=get_peft_model,
        lr_scheduler=torch.optim.lr_scheduler,
        model=model,
        models=torchvision.models,
        network=network,
        nn=torch.nn,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9),
        timm=timm,
        tokenizer=None,
        torch=torch,
        transforms=torchvision.transforms,
    )


def outcome(line, space):
    """("runs", "warns" or "raises", the first line of each message) of one line.

    Warnings are those that Python shows by default, and those in transformers' log.
    """
    from transformers.utils import logging as log

    log.warning_once.cache_clear()  # else a second run of the cell would be silent
    heard, said = Heard(), []
    logger = log.get_logger("transformers")
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            mock.patch.object(logger, "handlers", [heard]),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)
            exec(line, space)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
    result = "raises" if said else "warns" if caught or heard.messages else "runs"
    said += [f"{w.category.__name__}: {w.message}" for w in caught] + heard.messages
    place = re.compile(r" \([^()]*__init__\.py\)")  # where the package is installed
    return result, [place.sub("", text.splitlines()[0]) for text in said]


def tried():
    """[(listing, its outcome, its messages, today's form, its outcome)]; no network."""
    import torchvision
    from transformers.utils import logging as log

    def random_weights(*_, **__):
        return torchvision.models.resnet50().state_dict()

    download = "torchvision.models._api.load_state_dict_from_url"
    bars = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    rows = []
    try:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            contextlib.chdir(folder),
            mock.patch(download, random_weights),
        ):
            space = names(folder)
            for line, today in LISTINGS.items():
                result, said = outcome(line, dict(space))
                now = outcome(today, dict(space))[0] if today else result
                rows.append((line, result, said, today or line, now))
    finally:
        if bars:
            log.enable_progress_bar()
    return rows


def show(rows):
    """Each listing with what became of it, its first message and today's form."""
    for line, result, said, today, now in rows:
        print(f"{result:8}{line}")
        if said:
            print(f"{'':8}| {textwrap.shorten(said[0], 98, placeholder=' ...')}")
        if today != line:
            print(f"{'':8}today {now}: {today}")
