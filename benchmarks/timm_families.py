"""Do the families of timm load, learn and predict through the zoo?

    python benchmarks/timm_families.py [--only NAME ...] [--slowest]

One small member of each module of timm that has one of at most about 90 million
parameters, built from its configuration with random weights: no network is needed.
Each gets a head for three classes.  Then, on two pictures of the size that its
configuration names:

- its features are vectors as wide as the backbone says, and every stage gives a tensor;
- the layer groups hold every parameter once;
- one step with the backbone frozen changes the head, and nothing else;
- one step of the whole has a finite loss and changes head and body;
- it predicts three finite numbers a picture, the same after saving and loading.

A family that cannot do it must say why in a message of the course; anything else is a
failure.  Prints a table with counts; exits with 1 when a family fails, or when fewer
than 60 were tried (but for --only).
"""

import argparse
import sys
import time
import traceback
import warnings

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from course_lib.errors import CourseError
from course_lib.models import features, heads, zoo
from course_lib.training import freezing, layer_groups

CLASSES, PICTURES = 3, 2
FAMILIES = """
beit_base_patch16_224 halonet_h1 mobileone_s0 cait_xxs24_224 coat_tiny convit_tiny
convmixer_768_32 convnext_atto_rms cpubone_nano crossvit_tiny_240 csatv2
cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46x_c
dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_lite0
efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0
fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 hardcorenas_b hgnetv2_b0
hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2
inception_v3 inception_v4 lcnetv2_small levit_128s lowformer_b0 test_mambaout
maxvit_pico_rw_256 poolformerv2_s12 gmlp_ti16_224 mobilenetv3_small_050
mobilenetv5_base mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap
jx_nest_tiny nextvit_small nf_regnet_b0 pit_ti_224 pvt_v2_b0 rdnet_tiny regnetx_002
repghostnet_050 repvit_m0_9 res2next50 resnest14d resnet18 resnetv2_18 rexnet_100
selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_small_window16_256
swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_svt_small
vgg11 visformer_tiny vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 test_vit_relpos
samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw
legacy_xception xception41p xcit_nano_12_p8_224 deit_tiny_distilled_patch16_224
deit3_small_patch16_224 vit_small_patch14_dinov2 caformer_s18 pit_ti_distilled_224
convnextv2_atto levit_conv_128s coat_lite_tiny mixer_s32_224 resmlp_12_224
mobilevitv2_050 dm_nfnet_f0 tf_mixnet_s
""".split()


def examine(name: str) -> str:
    """Load one model and do all of it; what its head is.  AssertionError on a fault."""
    backbone = zoo.load(f"timm/{name}", num_classes=CLASSES, pretrained=False)
    size = backbone.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, size, size, 3))
    x = backbone.preprocess(pixels.astype(np.uint8))
    y = torch.arange(PICTURES) % CLASSES
    check_reading(backbone, x)
    check_groups(backbone)
    freezing.freeze_backbone(backbone)
    changed, _ = step(backbone, x, y)
    head = {n for n in changed if heads.inside(n, backbone.heads)}
    assert head, "the head did not change"
    assert changed == head, f"frozen, and changed: {sorted(changed - head)[:3]}"
    freezing.unfreeze(backbone)
    changed, loss = step(backbone, x, y)
    assert np.isfinite(loss), f"the loss is {loss}"
    head = {n for n in changed if heads.inside(n, backbone.heads)}
    assert head and changed - head, "head and body must change"
    check_round_trip(backbone, name, x)
    kind = type(backbone.model.get_submodule(backbone.heads[0])).__name__
    return f"{', '.join(backbone.heads)} ({kind}), {backbone.num_features} features"


def check_reading(backbone, x):
    """Features and stages."""
    backbone.model.eval()
    with torch.no_grad():
        found = backbone.features(x)
    assert found.shape == (PICTURES, backbone.num_features), tuple(found.shape)
    assert found.isfinite().all(), "features that are not finite"
    for stage, maps in features.activations(backbone, x, backbone.stages).items():
        assert isinstance(maps, torch.Tensor), f"{stage} gives {type(maps).__name__}"
    assert len(backbone.stages) >= 2, f"stages {list(backbone.stages)}"


def check_groups(backbone):
    """Every parameter in one layer group, the classifier's in `head`."""
    groups = layer_groups.layer_groups(backbone)
    listed = sorted(name for members in groups.values() for name in members)
    assert listed == sorted(n for n, _ in backbone.model.named_parameters()), "groups"
    outside = [n for n in groups["head"] if not heads.inside(n, backbone.heads)]
    assert groups["head"] and not outside, f"group head: {groups['head'][:3]}"


def step(backbone, x, y) -> tuple[set[str], float]:
    """One step of SGD in train mode; names of what changed, and the loss."""
    model = backbone.model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(0)
    freezing.train_mode(backbone)
    learn = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learn, lr=0.1)
    loss = cross_entropy(features.forward(model, x), y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learn, 1.0)
    optimizer.step()
    model.eval()
    after = model.state_dict()
    return {k for k, v in before.items() if not torch.equal(v, after[k])}, loss.item()


def check_round_trip(backbone, name, x):
    """Predictions, and the same from another copy with these weights."""
    with torch.no_grad():
        logits = features.forward(backbone.model, x)
        assert logits.shape == (PICTURES, CLASSES), tuple(logits.shape)
        assert logits.isfinite().all(), "logits that are not finite"
        other = zoo.load(f"timm/{name}", CLASSES, seed=1, pretrained=False)
        other.model.load_state_dict(backbone.model.state_dict())
        assert torch.equal(features.forward(other.model, x), logits), "other answers"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--slowest", action="store_true", help="slowest first")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows, began = [], time.perf_counter()
    for name in arguments.only or FAMILIES:
        started = time.perf_counter()
        try:
            result, said = "works", examine(name)
        except CourseError as error:
            result, said = "told", str(error).replace("\n", " ")
        except Exception as error:
            result = "FAILS"
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {str(error)[:200]} ({where.name})"
        seconds = time.perf_counter() - started
        rows.append((name, result, seconds))
        print(f"{result:5} {seconds:5.1f} s  {name:40} {said}", flush=True)
    if arguments.slowest:
        for name, _, seconds in sorted(rows, key=lambda row: -row[2])[:10]:
            print(f"{seconds:5.1f} s  {name}")
    counts = {r: sum(row[1] == r for row in rows) for r in ("works", "told", "FAILS")}
    listed = ", ".join(f"{n} {result}" for result, n in counts.items())
    print(f"{len(rows)} families: {listed}; {time.perf_counter() - began:.0f} s")
    if counts["FAILS"] or (not arguments.only and len(rows) < 60):
        sys.exit(1)


if __name__ == "__main__":
    main()
