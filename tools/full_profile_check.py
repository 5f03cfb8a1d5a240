"""The full profile without a network: stand-ins in the libraries' caches, then lessons.

    python tools/full_profile_check.py [LESSON ...] [--squeezenet FILE] [--folder DIR]

Writes, into a temporary folder or DIR, models of the public architectures with random
weights, in the very layouts in which torch hub and the Hugging Face Hub keep what they
download: ResNet-50, ViT-B/16, BERT, DeBERTa-v3 (SentencePiece, torch file in half
precision, as it is published), Qwen2.5, Llama-3.1 and CLIP.  The text models are narrow
ones under their public names.  Then, with HF_HUB_OFFLINE=1 and no way to the network
for torch, loads each of them and executes the lessons under COURSE_PROFILE=full.
Accuracies of random weights mean nothing; that nothing breaks is what is checked.

Lessons run on SqueezeNet 1.1, which a CPU trains in minutes at 224 pixels; with
`--squeezenet` on the weights of FILE (a state dict of torchvision's architecture), as
COURSE_VISION_BACKBONE=torchvision/squeezenet1_1@FILE, so that lessons 01 to 03 show
what a real public model gives.  `--backbone NAME` takes another.  Needs no network, up
to 1 GB of disk, and some minutes a lesson.  Prints a table; fails when a part failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REVISION = "0" * 40  # of a snapshot; a hub would put a commit's hash here
TEXTS = Path(__file__).parents[1] / "data" / "tickets.csv"
WORDS = dict(bos_token="<|bos|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
LLAMA = "meta-llama/Llama-3.1-8B"
DEBERTA = "microsoft/deberta-v3-base"
CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


# -- where the libraries look ----------------------------------------------------------


def snapshot(hub: Path, repository: str) -> Path:
    """The folder of a repository's files in a Hugging Face cache, and its `main`."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(REVISION)
    files = folder / "snapshots" / REVISION
    files.mkdir(parents=True, exist_ok=True)
    return files


def torchvision_file(cache: Path, name: str) -> Path:
    """Where torch hub keeps the default weights of a torchvision model."""
    from torchvision.models import get_model_weights

    folder = cache / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / get_model_weights(name).DEFAULT.url.rpartition("/")[2]


def environment(cache: Path) -> dict[str, str]:
    """The variables under which everything comes from these caches or not at all."""
    return {
        "TORCH_HOME": str(cache / "torch"),
        "HF_HOME": str(cache / "hf"),
        "HF_HUB_CACHE": str(cache / "hf" / "hub"),
        "HF_HUB_OFFLINE": "1",
        "https_proxy": "http://127.0.0.1:9",  # torch hub: refused at once
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "127.0.0.1,localhost",
        "COURSE_PROFILE": "full",
    }


def save_torch(state, path: Path) -> None:
    """A file in torch's own format, as torchvision and older repositories publish."""
    import torch

    torch.save(state, path)


# -- the stand-ins ---------------------------------------------------------------------


def put_torchvision(cache: Path, name: str) -> None:
    """Random weights where torch hub keeps the published ones."""
    import torch
    from torchvision import models

    torch.manual_seed(0)
    state = models.get_model(name).state_dict()
    save_torch(state, torchvision_file(cache, name))


def put_timm(cache: Path, name: str) -> None:
    """Random weights in the layout of timm's repositories."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(name)
    folder = snapshot(cache / "hf" / "hub", f"timm/{name}")
    save_file(model.state_dict(), folder / "model.safetensors")
    settings = {"architecture": name.partition(".")[0], "num_classes": 1000}
    (folder / "config.json").write_text(json.dumps(settings))


def texts() -> list[str]:
    """Something to learn a vocabulary from."""
    import csv

    with open(TEXTS, encoding="utf-8", newline="") as stream:
        return [row["text"] for row in csv.DictReader(stream)][:1000]


def word_pieces():
    """A WordPiece tokenizer in BERT's manner, lower case."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    learned = BertWordPieceTokenizer()
    learned.train_from_iterator(texts(), vocab_size=1500, show_progress=False)
    return BertTokenizer(vocab=learned.get_vocab(), model_max_length=512)


def byte_pairs(**special):
    """A byte-level BPE tokenizer, as Qwen2.5 and Llama 3 have one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=sorted(set(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=learned, **special)


def put_encoder(cache: Path, name: str, kind: str, **sizes) -> None:
    """A text encoder with a WordPiece vocabulary, as safetensors."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    torch.manual_seed(0)
    tokenizer = word_pieces()
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes)
    folder = snapshot(cache / "hf" / "hub", name)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def put_deberta(cache: Path, name: str = DEBERTA, **sizes) -> None:
    """As it is published: spm.model, no tokenizer.json; a torch file in float16."""
    import torch
    from tokenizers import SentencePieceUnigramTokenizer
    from transformers import AutoConfig, AutoModelForMaskedLM
    from transformers.utils import sentencepiece_model_pb2_new as pb

    learned = SentencePieceUnigramTokenizer()
    learned.train_from_iterator(
        texts(), vocab_size=1200, show_progress=False, unk_token="[UNK]"
    )
    pieces = json.loads(learned.to_str())["model"]["vocab"]
    special = [("[PAD]", 3), ("[CLS]", 3), ("[SEP]", 3), ("[UNK]", 2)]
    model = pb.ModelProto()
    for piece, kind in special:
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece, score in pieces:
        if piece != "[UNK]":
            model.pieces.add(piece=piece, score=score, type=1)
    model.trainer_spec.model_type = 1  # unigram
    model.trainer_spec.unk_id = 3
    model.trainer_spec.unk_piece = "[UNK]"
    folder = snapshot(cache / "hf" / "hub", name)
    (folder / "spm.model").write_bytes(model.SerializeToString())
    settings = {"do_lower_case": False, "vocab_type": "spm"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    published = dict(
        vocab_size=len(model.pieces) + 28,  # padded, with room for [MASK]
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=-1,
        position_biased_input=False,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
    )
    config = AutoConfig.for_model("deberta-v2", **published | sizes)
    net = AutoModelForMaskedLM.from_config(config).half()
    config.dtype = None
    (folder / "config.json").write_text(config.to_json_string())
    save_torch(net.state_dict(), folder / "pytorch_model.bin")


def put_decoder(cache: Path, name: str, kind: str, **sizes) -> None:
    """A causal language model in bfloat16 with a byte-level vocabulary."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    tokenizer = byte_pairs(**WORDS)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **sizes,
    )
    folder = snapshot(cache / "hf" / "hub", name)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def put_clip(cache: Path, name: str = CLIP) -> None:
    """A narrow CLIP with its processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    tokenizer = byte_pairs(bos_token="<|startoftext|>", eos_token="<|endoftext|>")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = 77
    sizes = dict(hidden_size=64, intermediate_size=128, num_attention_heads=4)
    text = dict(sizes, num_hidden_layers=2, vocab_size=len(tokenizer))
    text |= dict(eos_token_id=tokenizer.eos_token_id)
    image = dict(sizes, num_hidden_layers=2, image_size=224, patch_size=32)
    config = CLIPConfig(text_config=text, vision_config=image, projection_dim=64)
    folder = snapshot(cache / "hf" / "hub", name)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"tokenizer_class": "CLIPTokenizer"}))
    CLIPImageProcessor().save_pretrained(folder)


NARROW = dict(
    hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4
)


def build(cache: Path) -> list[str]:
    """All stand-ins; returns the names under which `zoo.load` takes them.

    The last two are language models.
    """
    from course_lib import profiles

    full = profiles.FULL
    for name in ("resnet50", "squeezenet1_1"):
        put_torchvision(cache, name)
    for name in (full.vision_other_source, full.vit):
        put_timm(cache, name.removeprefix("timm/"))
    put_encoder(cache, full.text_encoder.removeprefix("hf/"), "bert", **NARROW)
    put_deberta(cache, **NARROW)
    keys = dict(num_key_value_heads=2, max_position_embeddings=1024)
    qwen = full.language_model.removeprefix("hf/")
    put_decoder(cache, qwen, "qwen2", **NARROW, **keys, tie_word_embeddings=True)
    put_decoder(cache, LLAMA, "llama", **NARROW, **keys)
    put_clip(cache)
    vision = [full.vision_backbone, "torchvision/squeezenet1_1"]
    vision += [full.vision_other_source, full.vit]
    return [*vision, full.text_encoder, f"hf/{DEBERTA}", f"hf/{qwen}", f"hf/{LLAMA}"]


# -- the checks: each in a process of its own, which reads the environment -------------

LOAD = """
import sys, warnings
import numpy as np, torch
from course_lib.methods import instruction_tuning
    from course_lib.models import language_models, zoo
warnings.simplefilter("ignore")
name, decoder = sys.argv[1], sys.argv[2] == "decoder"
if decoder:
    model, tokenizer = language_models.load(name, quantised="nf4")
    tuned = instruction_tuning.with_lora(model, r=4)
    rows = language_models.examples(tokenizer, ["a b"] * 4, ["c"] * 4)
    losses = [instruction_tuning.padded(tuned, tokenizer, rows)]
    asked = tokenizer(["a b"])["input_ids"]
    said = language_models.continued(tuned, tokenizer, asked, length=4)
    layer = type(model.model.layers[0].mlp.up_proj).__name__
    print(f"{type(model).__name__}, {layer}, loss {losses[-1]:.2f}, wrote {len(said)}")
else:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        backbone = zoo.load(name, num_classes=5)
    notes = [str(w.message) for w in said if "publishes" in str(w.message)]
    texts = ["A scratch.", "Two particles near the edge."]
    images = np.zeros((2, 64, 64, 3), np.uint8)
    x = backbone.preprocess(texts if backbone.kind == "text" else images)
    with torch.no_grad():
        F = backbone.features(x)
    shape = tuple(F.shape)
    p = backbone.preprocess
    how = getattr(p, "tokenizer", None).__class__.__name__
    if backbone.kind == "vision":
        how = f"{p.size} px, {p.interpolation}, mean {p.mean[0]:.3f}"
    dtype = str(next(backbone.model.parameters()).dtype).removeprefix("torch.")
    noted = ", told that the file is not the published one" if notes else ""
    print(f"features {shape}, {dtype}, {how}{noted}")
"""


def child(arguments, variables) -> tuple[bool, str, float]:
    """(it worked, its last line, seconds) of a Python process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", **variables},
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode and not lines:
        lines = done.stdout.strip().splitlines()
    last = lines[-1] if lines else ""
    return done.returncode == 0, last, time.perf_counter() - began


RUN = """
import json, sys
from course_lib.course import runner
import nbformat
(path,) = runner.lessons([sys.argv[1]])
notebook = nbformat.read(path, as_version=4)
run = runner.execute(notebook, path.stem, timeout=float(sys.argv[2]))
if sys.argv[3]:
    nbformat.write(notebook, sys.argv[3])
print(json.dumps([run.failure, round(run.seconds), round(run.peak_mb)]))
"""


def run_lesson(name: str, variables, keep: Path | None, timeout: float):
    """Execute a lesson; (it worked, what to say, seconds)."""
    page = str(keep / f"{name}.ipynb") if keep else ""
    worked, last, seconds = child(["-c", RUN, name, str(timeout), page], variables)
    if not worked:
        return False, last, seconds
    failure, seconds, megabytes = json.loads(last)
    return failure is None, failure or f"all cells, {megabytes} MB", seconds


def main() -> int:
    """Build, load, run; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="00 to 12; none: loading only")
    parser.add_argument("--squeezenet", metavar="FILE", help="real weights")
    parser.add_argument("--backbone", metavar="NAME", help="for the lessons")
    parser.add_argument("--size", type=int, help="of pictures, instead of 224 pixels")
    parser.add_argument("--text-encoder", metavar="NAME", help="for the lessons")
    parser.add_argument("--folder", metavar="DIR", help="build here, and leave it")
    parser.add_argument("--keep", metavar="DIR", help="write executed lessons here")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds a cell")
    arguments = parser.parse_args()
    keep = Path(arguments.keep).resolve() if arguments.keep else None
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="course-full-") as temporary:
        cache = Path(arguments.folder or temporary).resolve()
        variables = environment(cache)
        names = (
            json.loads((cache / "names.json").read_text())
            if (cache / "names.json").exists()
            else build(cache)
        )
        (cache / "names.json").write_text(json.dumps(names))
        backbone = arguments.backbone or "torchvision/squeezenet1_1"
        if arguments.squeezenet:
            file = Path(arguments.squeezenet).resolve()
            backbone = f"torchvision/squeezenet1_1@{file}"
            names.insert(0, backbone)
        failed = 0

        def row(what, worked, said, seconds):
            nonlocal failed
            failed += not worked
            state = "ok" if worked else "FAILED"
            print(f"{state:7}{what:55}{seconds:6.0f} s  {said}", flush=True)

        for name in names if not arguments.lessons else []:
            kind = "decoder" if name in names[-2:] else "encoder"
            shown = name.partition("@")[0] + ("@FILE" if "@" in name else "")
            row(shown, *child(["-c", LOAD, name, kind], variables))
        variables["COURSE_VISION_BACKBONE"] = backbone
        if arguments.size:
            variables["COURSE_IMAGE_SIZE"] = str(arguments.size)
        if arguments.text_encoder:
            variables["COURSE_TEXT_ENCODER"] = arguments.text_encoder
        for lesson in arguments.lessons:
            row(
                f"lesson {lesson}",
                *run_lesson(lesson, variables, keep, arguments.timeout),
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
