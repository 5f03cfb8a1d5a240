"""The training loop: :func:`fit`, one update after the other on one page.

Where a batch comes from stands in `batches`; what happens before the first update,
around each epoch and after the last one in `run`.
"""

from course_lib.models.features import forward
from course_lib.training.progress import History
from course_lib.training.randomness import isolated
from course_lib.training.recipe import STANDARD, Recipe
from course_lib.training.run import Run


def fit(
    model,
    train,
    val=None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    recipe: Recipe = STANDARD,
) -> History:
    """Train ``model`` in place; the weights of the lowest validation loss come back.

    model: a Backbone or a torch module that gives logits (N, K).  train, val: an
    ImageDataset or TextDataset, (inputs, labels), a torch Dataset or a DataLoader;
    uint8 images and texts are preprocessed, float features are taken as they are.
    For ``epochs`` passes over the data or ``steps`` updates (for comparisons at equal
    work), at the rate ``lr``; all else is the :class:`~course_lib.training.Recipe`'s.
    Frozen parameters stay out of the optimizer, and frozen BatchNorm layers keep their
    statistics.  Under `accelerate launch` each process computes its rows of a batch.
    Raises CourseError on data that do not fit the head, on nothing to train, on a
    checkpoint of another run, and as soon as the loss is not finite.
    """
    run = Run(model, train, val, (epochs, steps), lr, seed, recipe)
    optimizer, precision, objective = run.optimizer, run.precision, recipe.objective
    with isolated(seed + run.processes.rank, recipe.runtime.threads), run.progress:
        run.start()
        for epoch, updates in run.epochs():
            network = run.begin(epoch)
            for step in updates:
                batch = next(run.feed)
                recipe.optimization.set_rates(optimizer, step, run.steps)
                with precision.autocast():
                    logits = forward(network, batch.inputs)
                    loss = objective(logits, batch.labels)
                loss = run.noted(loss, batch, step)
                loss = run.penalized(loss, step)
                optimizer.zero_grad(set_to_none=True)
                precision.backward(loss)
                precision.step(optimizer, network, recipe.optimization.clip_norm)
                run.count(logits, batch, step)
            run.end(epoch, step + 1)
    return run.finish()
