"""Tiny networks and data sets for the tests of the library."""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import nn

from course_lib import datasets
from course_lib.datasets.images import ImageDataset
from course_lib.models import features, zoo
from course_lib.models.backbone import Backbone, vision
from course_lib.models.preprocessing import Preprocess
from course_lib.pretraining.architectures import narrow_resnet

torch.set_num_threads(1)  # such small sums gain nothing from more

PREPROCESS = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def resnet(num_classes=3, seed=0):
    """A Backbone with the real stages and 8 to 16 channels, freshly initialised."""
    torch.manual_seed(seed)
    model = narrow_resnet(num_classes, widths=(8, 8, 16, 16)).eval()
    return vision(model, PREPROCESS, "tiny/resnet", {})


def vit(num_classes=3, seed=0):
    """A Backbone around timm's VisionTransformer with 2 blocks of 24 channels."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    model = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=num_classes,
    )
    return vision(model.eval(), PREPROCESS, "tiny/vit", {})


def images(n=24, size=32, seed=0, num_classes=3, split="train"):
    """Images whose class is their colour: easy to learn within a few steps."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % num_classes
    pixels = rng.integers(0, 120, (n, size, size, 3))
    pixels[np.arange(n), :, :, labels] += 110
    return ImageDataset(
        pixels.astype(np.uint8),
        labels.astype(np.int64),
        tuple("abcdefgh"[:num_classes]),
        name="colours",
        split=split,
    )


def write_pictures(folder, n, size):
    """n pictures a class in subfolders "red" and "green", easy to tell apart."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("red", "green")):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 150, (size, size, 3))
            pixels[..., k] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def mlp(inputs=4, outputs=3, seed=0):
    """A two-layer network for float inputs."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))


def blobs(n=60, num_classes=3, seed=0):
    """(X (n, 4) float32, y (n,)): well separated clusters."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % num_classes
    centres = np.random.default_rng(99).normal(0, 3, (num_classes, 4))
    return (centres[y] + rng.normal(0, 0.5, (n, 4))).astype(np.float32), y


def encoder(num_classes=5, seed=0, positions=128):
    """A text Backbone with two layers of 32 channels and random weights."""
    from transformers import BertConfig, BertModel

    backbone = zoo.load("minilm", pretrained=False, seed=seed)
    config = BertConfig(
        vocab_size=backbone.model.config.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.model = BertModel(config, add_pooling_layer=False)
    backbone.num_features = 32
    backbone.stages = {
        k: backbone.stages[k] for k in ("embeddings", "layer1", "layer2")
    }
    return backbone.to_classes(num_classes, seed) if num_classes else backbone


@cache
def word_pieces():
    """A byte-level tokenizer of 500 pieces, made of tickets, that splits digits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    signs = ["<pad>", "<bos>", "<eos>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=500,
        special_tokens=signs,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(datasets.load("reports", "validation").texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    named = dict(zip(("pad_token", "bos_token", "eos_token"), signs))
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **named)


def llama(folder, tied=True):
    """A folder with a Llama of two layers of 64 channels and random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = word_pieces()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def state(model):
    """Copies of all weights and buffers, by name."""
    net = features.network(model)
    return {k: v.clone() for k, v in net.state_dict().items()}


def moved(before, model):
    """Names whose values are not those of an earlier `state`."""
    after = features.network(model).state_dict()
    return {k for k in before if not torch.equal(before[k], after[k])}


def generator(seed=0):
    """A torch.Generator with that seed."""
    return torch.Generator().manual_seed(seed)


def perceptron(seed=0):
    """A Backbone for points in the plane, with 16 features and two classes."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    return Backbone(net, None, "tiny/perceptron", "vision", "4", {}, 16)


def points(n=300, shift=0.0, gain=1.0, seed=0):
    """Both coordinates tell the class; in the target the second one has changed."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(0, 0.5, (n, 2)) + (2 * y[:, None] - 1)
    X[:, 1] = gain * X[:, 1] + shift
    return X.astype(np.float32), y


class Unreadable:
    """Images whose labels nobody may look at."""

    def __init__(self, data):
        self.images, self.classes = data.images, data.classes

    @property
    def labels(self):
        raise AssertionError("the target's labels were read")
