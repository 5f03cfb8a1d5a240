"""The training loop of the course, and what belongs to it.

One function, :func:`fit`, trains any classifier on arrays, data sets or loaders.  It
keeps the weights of the lowest validation loss, draws its batches from a seeded
generator, leaves frozen parts frozen (BatchNorm statistics included), and returns its
history as plain data.  A :class:`Recipe` says what is not said by its arguments.

To follow one update, read `loop` and `batches`.  The rest, each in its place: `run`
(what stands around the updates), `recipe`, `optimization`, `schedules`, `layer_groups`,
`freezing`, `augmentation`, `precision`, `distributed` (several processes), `resume`
(interrupted runs), `evaluation`, `progress`, `randomness` and `lr_finder`;
`photometric` and `mixup` are further augmentations.  Work done once: `cached_heads` (a
frozen backbone), `frozen_stages` and `small_maps` (a frozen lower part).  Text encoders
learn by transformers' Trainer: `hf_trainer`.
"""

from course_lib.training.augmentation import (
    AUGMENTATIONS,
    compose,
    random_crop,
    random_dihedral,
    random_flips,
    random_resized_crop,
)
from course_lib.training.batches import Examples
from course_lib.training.cached_heads import (
    Head,
    attach_head,
    fit_head,
    make_head,
)
from course_lib.training.evaluation import (
    accuracy,
    balanced_accuracy,
    evaluate,
    predict,
)
from course_lib.training.loop import fit
from course_lib.training.lr_finder import RangeTest, range_test
from course_lib.training.optimization import (
    exempt_from_decay,
    make_optimizer,
    param_groups,
)
from course_lib.training.progress import History
from course_lib.training.randomness import isolated
from course_lib.training.recipe import (
    STANDARD,
    Objective,
    Optimization,
    Recipe,
    Runtime,
)
from course_lib.training.schedules import lr_factor
