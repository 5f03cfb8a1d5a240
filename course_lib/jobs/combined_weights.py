"""`robust: wise-ft` and `soup: N`: weights of several states of one network, combined.

1. The head learns alone on the frozen network, as with strategy: frozen: the start, a
   linear probe.
2. From this head the strategy goes on (LP-FT, Kumar et al. 2022, arXiv:2202.10054):
   once, or N times with other seeds and rates.
3. soup: the greedy soup of the N runs (Wortsman et al. 2022b, arXiv:2203.05482).
4. wise-ft: (1 - alpha) start + alpha end, where the end is the run or the soup, at the
   alpha that validation likes best (Wortsman et al. 2022a, arXiv:2109.01903).

Each choice is that of the lowest validation loss to DIGITS digits; of equal ones the
lower alpha is taken, the smaller move from the pretrained weights.  BatchNorm keeps the
pretrained running mean and variance in all runs: the start stays what it was when
training goes on from it, and mixtures need no statistics of their own.  The test part
is not read before all choices are made.
"""

import copy
from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib import training
from course_lib.analysis import statistics
from course_lib.errors import CourseError
from course_lib.jobs import assembly, combined_report
from course_lib.jobs.job_runs import (
    Place,
    diverged,
    learned,
    measured,
    run_once,
)
from course_lib.jobs.outcome import right
from course_lib.methods import merging
from course_lib.models.features import network
from course_lib.training import freezing

DIGITS = 4  # of a validation loss in nats; what is closer is equal


def tuned(config):
    """The configuration of the runs that go on from the trained head."""
    if config.combines and config.strategy == "head_then_full":  # the head has learned
        return config.model_copy(update={"strategy": "full"})
    return config


def before(config) -> list[str]:
    """What such a job costs and is known to bring, before it starts."""
    said = []
    if config.soup is not None:
        said.append(
            f"A soup of {config.soup} runs: training takes about {config.soup} times "
            "as long as one run, beside the head, which learns alone before."
        )
    if config.robust != "none":
        said.append(
            "WiSE-FT: the head learns alone before, and training goes on from there. "
            "It can pay where that start is good under the shift: test it there, too."
        )
    return said


# -- the runs ---------------------------------------------------------------------


def trained(config, backbone, parts, place: Place):
    """Train and combine in place.

    (rate, history, seconds, validation and test as of a single run; how the weights
    came about, see `combined_report`; sentences).  The history is that of the run with
    the lowest validation loss.
    """
    backbone.model.to(place.runtime.device)
    head = _head(config, backbone, parts, place)
    start = _state(backbone)
    recipe = assembly.recipe(tuned(config), backbone, parts)
    once = run_once(tuned(config), backbone, parts, recipe)
    runs = _runs(config, backbone, parts, place, once, start)
    states = [start, *(run.pop("state") for run in runs)]
    scale = Scale(backbone, parts, once)
    found, end = _combined(config, scale, runs, states)
    best = min(runs, key=lambda run: (_rounded(run), run["run"]))
    spent = head["seconds"] + sum(run["seconds"] for run in runs)
    transfer = {"rate": best["rate"], "history": best["history"]}
    transfer["seconds"] = round(spent, 2)
    if config.soup is not None:  # it stands beside the result, as what a soup replaces
        scale.place(states[1 + runs.index(best)])
        found["best_run"] = {key: best[key] for key in ("run", "rate")}
        found["best_run"] |= measured(backbone, parts)
    scale.place(end)
    transfer |= measured(backbone, parts)
    if config.soup is not None:
        pair = right(transfer), right(found["best_run"])
        found["gain"] = statistics.paired_accuracies(*pair)
    layers = network(backbone).modules()
    found["batchnorm"] = any(isinstance(layer, _BatchNorm) for layer in layers)
    if head["history"]:
        found["head"]["epochs"] = len(head["history"]["step"])
    else:
        found["head"]["C"] = head["fit"]["C"]
    for run in runs:
        run["epochs"] = len(run.pop("history")["step"])
        run.pop("seconds")
    said = [once.said(config.augment)] if once else []
    return transfer, found, [*said, *combined_report.said(found, config)]


def _head(config, backbone, parts, place):
    """The head learns alone, in place: what `learned` gives."""
    alone = config.model_copy(update={"strategy": "frozen"})
    recipe = assembly.recipe(alone, backbone, parts)
    recipe = replace(recipe, runtime=place.of("head", "the head alone"))
    once = run_once(alone, backbone, parts, recipe)
    return learned(alone, backbone, parts, recipe, once)


def _runs(config, backbone, parts, place, once, start) -> list[dict]:
    """The fine-tuned runs, each from the same start.

    {run, seed, factor, rate, history, seconds, state}; a soup goes on without those
    that diverged.  Raises CourseError where all did.
    """
    count = config.soup or 1
    runs, failed = [], None
    for i in range(count):
        factor = config.soup_factors[i % len(config.soup_factors)]
        factor = 1.0 if config.soup is None else factor
        changed = {"seed": config.seed + i} | {
            key: factor * getattr(config, key) for key in ("head_rate", "backbone_rate")
        }
        own = tuned(config).model_copy(update=changed)
        backbone.model.load_state_dict(start)
        name = ("transfer", "training")
        if config.soup is not None:
            name = (f"soup-{i + 1}", f"run {i + 1} of {count}")
        recipe = assembly.recipe(own, backbone, parts)
        recipe = replace(recipe, runtime=place.of(*name))
        about = {"run": i + 1, "seed": own.seed, "factor": factor}
        net = backbone if once is None else once.upper
        try:
            with freezing.statistics_frozen(net):
                found = learned(own, backbone, parts, recipe, once)
        except CourseError as error:
            if config.soup is None or not diverged(error):
                raise
            failed = error
            continue
        runs.append(about | found | {"state": _state(backbone)})
    if not runs:
        raise failed
    return runs


def _state(backbone) -> dict[str, torch.Tensor]:
    return copy.deepcopy(network(backbone).state_dict())


# -- the choices ------------------------------------------------------------------


class Scale:
    """Puts states in the network and asks the validation part about them.

    once: stored output that is read instead of pictures, or None.
    """

    def __init__(self, backbone, parts, once):
        self.backbone = backbone
        self.asked = backbone if once is None else once.upper
        self.validation = parts.validation if once is None else once.validation

    def place(self, state) -> None:
        """Put a state in the network."""
        network(self.backbone).load_state_dict(state)

    def ask(self, state) -> dict:
        """{loss, accuracy} of the validation part; the state stays in the network."""
        self.place(state)
        found = training.evaluate(self.asked, self.validation)
        return {name: found[name] for name in ("loss", "accuracy")}


def _rounded(found) -> float:
    return round(found["loss"], DIGITS)


def preferred(rows) -> float:
    """The alpha of the lowest loss; of equal ones the lower alpha.

    rows: {alpha, loss}.
    """
    return min(rows, key=lambda row: (_rounded(row), row["alpha"]))["alpha"]


def _combined(config, scale: Scale, runs, states):
    """(how the weights came about, the state).

    runs get their validation loss and accuracy, and whether they are in the soup.
    """
    start, *ends = states
    found = {"head": scale.ask(start), "runs": runs}
    for run, state in zip(runs, ends):
        run |= scale.ask(state)
    end = ends[0]
    if config.soup is not None:
        end, members = merging.greedy_soup(ends, lambda one: -_rounded(scale.ask(one)))
        found["soup"] = scale.ask(end)
        for i, run in enumerate(runs):
            run["taken"] = i in members
    if config.robust == "none":
        return found, end
    rows = [
        {"alpha": alpha} | scale.ask(merging.interpolate(start, end, alpha))
        for alpha in sorted(set(config.alphas))
    ]
    alpha = preferred(rows)
    found |= {"alphas": rows, "alpha": alpha}
    return found, merging.interpolate(start, end, alpha)
