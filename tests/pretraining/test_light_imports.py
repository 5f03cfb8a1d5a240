"""Networks load and learn without torch's compiler, which stays whole for others."""

import subprocess
import sys

import pytest

from course_lib.pretraining import light_imports

FINE_TUNING = """
import sys
import numpy as np
import torch
from course_lib import training
from course_lib.models import zoo
images = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) % 3
net = zoo.load("imagenet/efficientnet-lite0", 3, pretrained=False)
training.fit(net, images, steps=1)
optimizer = training.make_optimizer(net)
optimizer.load_state_dict(optimizer.state_dict())
optimizer.add_param_group(dict(params=[torch.nn.Parameter(torch.zeros(1))]))
loaded = {name for name in sys.modules if name.startswith(("torch._dynamo", "scipy"))}
assert not loaded, loaded
"""

AFTERWARDS = """
from timm.models import naflexvit
from torchvision.ops import roi_align
assert roi_align.__module__ == "torchvision.ops.roi_align"
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(2)).tolist() == [2, 2]
from torch._dynamo.utils import is_compile_supported
from course_lib.pretraining import light_imports
assert is_compile_supported is not light_imports.is_compile_supported
assert light_imports.is_compile_supported("cpu") == is_compile_supported("cpu")
assert light_imports.disable(lambda x: x + 1)(1) == 2
"""


def run(code):
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
def test_fine_tuning_does_not_import_the_compiler_which_works_afterwards():
    run(FINE_TUNING + AFTERWARDS)


def test_a_package_that_wants_more_of_the_compiler_gets_it(tmp_path, monkeypatch):
    source = "from torch._dynamo.utils import is_compile_supported, counters\n"
    (tmp_path / "wanting_more.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kept = {n: m for n, m in sys.modules.items() if n.startswith("torch._dynamo")}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    with light_imports.standing_in():
        assert sys.modules["torch._dynamo"].__spec__ is None
    assert "torch._dynamo" not in sys.modules
    for name, module in kept.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert light_imports.imported("wanting_more").counters is not None
