"""The memory planner: what fine-tuning a model needs, by part, before anything runs.

    total = weights + adapters + gradients + optimizer states
          + activations + the larger of (logits) and (one layer's backward pass)

The network is built on torch's meta device, shapes without numbers, so that a model of
70 billion parameters takes a second to plan (`networks`).  What is stored (first line)
is counted tensor by tensor; the second line is a formula, made for decoders of Llama's
type (`counts`).  Sizes are in bytes; GB = 10^9 bytes, GiB = 2^30.
"""

from course_lib.memory.fitting import Change, Verdict, capacity, fits, largest
from course_lib.memory.networks import (
    HUB,
    MODELS,
    Adapter,
    Architecture,
    adapters,
    build,
    configuration,
    describe,
    installed,
)
from course_lib.memory.plan_options import DTYPES, METHODS, OPTIMIZERS, Options
from course_lib.memory.planning import GB, GIB, PARTS, STORED, Plan, plan, replan
from course_lib.memory.stored import measured
from course_lib.memory.summary import report, sentences
