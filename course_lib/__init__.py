"""A practical course on transfer learning: the library that its lessons import.

Importing this package is cheap: nothing here loads torch.
"""

import logging
import os
import warnings

__version__ = "0.1.0"

# Offline is the default profile: it must not wait for a network that may not be
# there.  The Hugging Face libraries read this once, when they are imported.
if os.environ.get("COURSE_PROFILE", "offline") == "offline":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

# peft imports bitsandbytes, which warns that an optional, downloadable CPU kernel is
# absent.  The course runs without it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# peft asks transformers for an attribute and a method by their old names.
OLD_NAME = "`(is_gradient_checkpointing|gradient_checkpointing_enable)` is deprecated"
warnings.filterwarnings("ignore", message=OLD_NAME, category=FutureWarning)
