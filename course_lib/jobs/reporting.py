"""The report of a training job: a verdict, figures, tables, one page."""

from collections.abc import Collection

import numpy as np

from course_lib.jobs import combined_report
from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table, interval, percent, shortened
from course_lib.training import History

HOW = {
    "frozen": "only a new head on frozen features",
    "last_stage": "a new head and the last stage",
    "full": "all layers",
    "scratch": "all layers",
    "head_then_full": "the head alone first, then all layers",
    "gradual": "all layers, opened from the head down",
}
MATTERS = 0.01  # a difference in accuracy that would change what to use


# -- words ------------------------------------------------------------------------


def verdict(result) -> str:
    """What was reached, and whether the pretrained weights helped, with intervals."""
    test, what = result.transfer["test"], inputs(result)
    said = (
        f"{result.config['model']} answers {percent(test['accuracy'])} of "
        f"{test['n']:,} test {what} right (95 % interval {interval(test)})"
    )
    if not result.gain:
        return said + "; nothing was trained from scratch to compare with."
    gain, other = result.gain, result.baseline["test"]
    points = f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f} points"
    rest = f"the same network from scratch {percent(other['accuracy'])}"
    difference = f"{100 * gain['mean']:+.1f} points, 95 % interval {points}"
    judged = {
        "better": "the pretrained start did better",
        "worse": "the pretrained start did worse",
        "same": "no difference that matters",
        "open": "too few test examples to tell them apart",
    }[judgement(gain)]
    return f"{said}, {rest}: {judged} ({difference})."


def judgement(gain) -> str:
    """ "better", "worse", "same" (within one point) or "open" by an interval."""
    if gain["low"] > 0:
        return "better"
    if gain["high"] < 0:
        return "worse"
    if max(abs(gain["low"]), abs(gain["high"])) <= MATTERS:
        return "same"
    return "open"


def inputs(result) -> str:
    """What the examples are, in a sentence: "pictures" or "texts"."""
    return "pictures" if result.config["task"] == "images" else "texts"


def text(result, told: Collection[str] = ()) -> str:
    """The report in short, as plain text, without notes that were told before."""
    lines = [result.verdict, ""]
    lines += [f"- {line}" for line in done(result) if line not in told]
    if result.findings:
        lines += ["", "Found before training", *(f"- {one}" for one in result.findings)]
    return "\n".join(lines)


def done(result) -> list[str]:
    """What was done, in sentences."""
    config, sizes, what = result.config, result.data["sizes"], inputs(result)
    run = ""
    if best := (result.combined or {}).get("best_run"):
        run = f"run {best['run']}, the best by validation: "
    said = [
        f"{sum(sizes.values()):,} {what} of {len(result.classes)} classes: "
        f"{sizes['train']:,} to train on, {sizes['validation']:,} to choose by, "
        f"{sizes['test']:,} to test on.",
        f"Trained: {HOW[config['strategy']]}, from {config['weights']} weights; "
        f"{run}{_length(result)}.",
    ]
    if _unfinished(result.transfer):
        said.append("The last epoch was the best one: more epochs might help.")
    if result.baseline:
        said.append(_scratch(result))
        if _unfinished(result.baseline):
            said.append(
                "From scratch, the validation loss was lowest in the last epoch: it "
                "might gain from more epochs than both were given."
            )
        said.append(
            "The interval of the difference counts the draw of the test examples. It "
            "does not count the seed and the split: train again with other seeds "
            "before you rely on a small difference."
        )
    said.append(
        f"Expected calibration error on the test part: "
        f"{100 * result.transfer['test']['calibration_error']:.1f} points."
    )
    return said + list(result.notes)


def _length(result) -> str:
    """How long the transferred run was."""
    if result.transfer["history"] is None:
        return f"a logistic regression with C = {result.transfer['fit']['C']:g}"
    history = History.from_dict(result.transfer["history"])
    return (
        f"{len(history.val_loss)} of {result.config['epochs']} epochs"
        + (", stopped early" if history.stopped_early else "")
        + f"; kept are the weights after epoch {history.best_epoch + 1}, where the "
        f"validation loss was lowest ({min(history.val_loss):.3f})"
    )


def _scratch(result) -> str:
    """What the run from scratch was, in a sentence."""
    had = "had none: its head was fitted"
    if result.transfer["history"]:
        had = f"had {result.transfer['history']['steps']:,}"
    config, history = result.config, History.from_dict(result.baseline["history"])
    ended = "stopped early" if history.stopped_early else "all that were allowed"
    tried = ", ".join(f"{one['rate']:g}" for one in result.baseline["tried"])
    return (
        f"From scratch: all layers of the same network from random weights, the same "
        f"batches and augment: {config['augment']}, anew in each epoch; "
        f"{len(history.val_loss)} of {config['epochs']} epochs, {ended}, "
        f"{history.steps:,} updates (the transferred run {had}); "
        f"rates tried {tried}; by validation loss {result.baseline['rate']:g} was taken"
        "."
    )


def _unfinished(run) -> bool:
    """Was the last epoch the best, so that more of them might help?"""
    if run["history"] is None:
        return False
    history = History.from_dict(run["history"])
    last = history.best_epoch == len(history.val_loss) - 1
    return last and not history.stopped_early


def seconds_line(result) -> str:
    """What it took."""
    parts = ", ".join(f"{k} {v:,.0f} s" for k, v in result.seconds.items())
    return f"Seconds: {parts}." if parts else ""


# -- figures ----------------------------------------------------------------------


def figures(result) -> list[tuple]:
    """(name, figure, alternative text) of each figure."""
    made = [
        ("training", *shown)
        for shown in (fit_figure(result), training_figure(result))
        if shown
    ]
    made += [
        ("confusion", *confusion_figure(result)),
        ("calibration", *calibration_figure(result)),
    ]
    if result.worst and result.config["task"] == "images" and result.parts is not None:
        made.append(("worst", *worst_figure(result)))
    return made


def fit_figure(result):
    """The same of a head that was fitted: loss by penalty; None where there is none."""
    tried = result.transfer.get("fit", {}).get("tried")
    if not tried:
        return None
    figure, ax = plots.new(width=4.4, height=3.0)
    Cs, chosen = [float(C) for C in tried], result.transfer["fit"]["C"]
    ax.semilogx(Cs, tried.values(), color=plots.COLOURS[0], marker=plots.MARKERS[0])
    ax.plot(chosen, tried[f"{chosen:g}"], marker="o", markersize=10, fillstyle="none",
            color=plots.COLOURS[0])  # fmt: skip
    ax.set(xlabel="inverse penalty C", ylabel="cross-entropy (nats), left out")
    ax.set_title("A ring marks the penalty that was taken")
    listed = "; ".join(f"{C}: {loss:.3f}" for C, loss in tried.items())
    return figure, f"Loss of the training pictures left out, by C: {listed}."


def training_figure(result):
    """(figure, alternative text): loss and accuracy over training; None without."""
    runs = {}
    if result.transfer["history"]:
        start = "random" if result.config["weights"] == "random" else "pretrained"
        runs[start] = History.from_dict(result.transfer["history"])
    if result.baseline:
        runs["scratch"] = History.from_dict(result.baseline["history"])
    if not runs:
        return None
    ends = ", ".join(
        f"{name} {percent(h.val_accuracy[h.best_epoch])} at epoch {h.best_epoch + 1}"
        for name, h in runs.items()
    )
    kept = "the weights that were kept"
    if result.combined is not None:
        kept = "the lowest validation loss"
    figure = plots.history(runs, title=f"A ring marks {kept}")
    return figure, (
        "Loss and accuracy by epoch on training and validation examples; validation "
        f"accuracy of the weights kept: {ends}."
    )


def confusion_figure(result):
    """(figure, alternative text): which classes are taken for which."""
    test = result.transfer["test"]
    counts = np.array(result.confusion)
    off = counts * (1 - np.eye(len(counts), dtype=int))
    row, column = np.unravel_index(off.argmax(), off.shape)
    said = "no error"
    if off.max():
        said = (
            f"most often {result.classes[row]!r} is taken for "
            f"{result.classes[column]!r}, {off.max()} times"
        )
    figure = plots.confusion(
        test["labels"],
        test["predictions"],
        [shortened(name, 18) for name in result.classes],
        title=f"Test {inputs(result)}: {said}"[:70],
    )
    return figure, (
        f"Matrix of {len(counts)} true classes against predicted classes on "
        f"{test['n']} test {inputs(result)}: {int(np.trace(counts))} on the diagonal; "
        f"{said}."
    )


def calibration_figure(result):
    """(figure, alternative text): reliability diagram."""
    start = "random" if result.config["weights"] == "random" else "pretrained"
    tested = {start: result.transfer["test"]}
    if result.baseline:
        tested["scratch"] = result.baseline["test"]
    return plots.reliability(
        {
            name: (test["reliability"], test["calibration_error"])
            for name, test in tested.items()
        }
    )


def worst_figure(result):
    """(figure, alternative text): the errors of which the network was surest."""
    rows = result.worst
    images = result.parts.test.images[[row["row"] for row in rows]]
    titles = [f"{i + 1}: {shortened(row['answer'], 14)}" for i, row in enumerate(rows)]
    figure = plots.image_grid(images, titles, columns=min(4, len(rows)), size=1.5)
    listed = "; ".join(
        f"{i + 1} is {row['label']}, answered {row['answer']} with "
        f"{percent(row['confidence'])}"
        for i, row in enumerate(rows)
    )
    return figure, f"The {len(rows)} test pictures with the surest errors: {listed}."


# -- the page ---------------------------------------------------------------------


def html(result) -> str:
    """One page without external resources; every text from outside is escaped."""
    shown = {}
    for name, figure, alt in figures(result):
        shown.setdefault(name, []).append(Picture(figure, alt))
    kind = {"better": "helps", "worse": "hurts"}.get(
        judgement(result.gain) if result.gain else "", "open"
    )
    name, model = result.data["name"], result.config["model"]
    worst = shown.get("worst", [])
    sections = {
        "": [runs_table(result)],
        "What was done": [done(result)],
        "The check before training": [result.findings or "It found no mistake."],
        "Training": shown.get("training", ["There was one fit, and no choice."]),
        "Combined weights": combined_report.pieces(result.combined or {}),
        "Which classes are confused": shown["confusion"],
        "Worst errors": [*worst, worst_table(result)],
        "Calibration": shown["calibration"],
        "Who bears the errors": pages.group_tables(result.subgroups, inputs(result)),
        "The data": [counts_table(result)],
        "The exported model": [result.export.get("said", [])],
        "Configuration": [config_table(result), seconds_line(result)],
    }
    if not result.export:
        del sections["The exported model"]
    if result.combined is None:
        del sections["Combined weights"]
    return pages.report(
        f"Training: {model} on {name}",
        f"{model} trained on {name}",
        [result.verdict],
        sections,
        kind,
    )


def runs_table(result) -> Table:
    """Accuracy and loss of the network and its baseline."""
    named = {f"{result.config['weights']} weights": result.transfer}
    if best := (result.combined or {}).get("best_run"):
        named = {"pretrained, combined": result.transfer}
        named[f"pretrained, run {best['run']} alone"] = best
    if result.baseline:
        named["from scratch"] = result.baseline
    rows = [
        (
            name,
            percent(run["test"]["accuracy"]),
            interval(run["test"]),
            percent(run["test"]["balanced_accuracy"]),
            f"{run['test']['loss']:.3f}",
            percent(run["validation"]["accuracy"]),
            "fitted" if run["rate"] is None else f"{run['rate']:g}",
        )
        for name, run in named.items()
    ]
    heads = ("start", "test accuracy", "95 % interval", "balanced", "test loss",
             "validation accuracy", "rate")  # fmt: skip
    return Table("What was reached", heads, rows)


def worst_table(result) -> Table | str:
    """The surest errors; texts are shown, shortened.  A sentence where none is."""
    if not result.worst:
        return "There is none: every test example was answered right."
    texts = result.config["task"] == "text" and result.parts is not None
    rows = []
    for i, row in enumerate(result.worst):
        cells = [str(i + 1), row["example"], row["label"], row["answer"]]
        cells.append(percent(row["confidence"]))
        if texts:
            cells.append(shortened(result.parts.test.texts[row["row"]], 200))
        rows.append(cells)
    heads = ["error", "example", "true class", "answer", "confidence"]
    heads += ["text"] if texts else []
    return Table("The errors of which the network was surest", heads, rows)


def counts_table(result) -> Table:
    """Examples of each class in each part; the last row has the sums."""
    counts = result.data["counts"]
    rows = [(c, *(counts[part][c] for part in counts)) for c in result.classes]
    rows.append(("all", *(sum(counts[part].values()) for part in counts)))
    return Table("Examples by class and part", ("class", *counts), rows)


def config_table(result) -> Table:
    """Every setting."""
    rows = [
        (key, "nothing" if value in (None, [], {}) else _plain(value))
        for key, value in result.config.items()
    ]
    return Table("All settings", ("key", "value"), rows)


def _plain(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
