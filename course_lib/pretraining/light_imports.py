"""torchvision and timm without torch's compiler.

Both import all of torch.compile for a line each: torchvision asks whether it could be
used, timm keeps it off one function.  That costs a second of processor time and 150 MB
in every process that loads a network.  The course does not compile, so while they are
imported two small modules stand in for the compiler; what they give asks the compiler
itself when it is called.
"""

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType

COMPILER, ASKED = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device):
    """The compiler's own answer."""
    return importlib.import_module(ASKED).is_compile_supported(device)


def disable(fn=None, recursive=True, **_):
    """The compiler's own `disable`, which torch has in a form that waits for a call."""
    return importlib.import_module("torch")._disable_dynamo(fn, recursive)


@contextmanager
def standing_in():
    """Two modules of the compiler's names meanwhile, with these two functions."""
    package, utils = ModuleType(COMPILER), ModuleType(ASKED)
    package.__path__, package.utils, package.disable = [], utils, disable
    utils.is_compile_supported = is_compile_supported
    sys.modules |= {COMPILER: package, ASKED: utils}
    try:
        yield
    finally:
        del sys.modules[COMPILER], sys.modules[ASKED]


def imported(name: str) -> ModuleType:
    """The package; the compiler comes along only where it wants more of it."""
    importlib.import_module("torch")
    if name not in sys.modules and COMPILER not in sys.modules:
        try:
            with standing_in():
                return importlib.import_module(name)
        except (ImportError, AttributeError):  # of another version
            pass
    return importlib.import_module(name)


def torchvision() -> ModuleType:
    """torchvision, imported."""
    return imported("torchvision")


def timm() -> ModuleType:
    """timm, imported, and torchvision with it."""
    return imported("timm")
