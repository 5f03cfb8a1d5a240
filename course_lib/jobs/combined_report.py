"""What a report says of weights that were combined, and shows.

found: {head: {loss, accuracy, epochs or, of a fitted one, C}, runs: [{run, seed,
factor, rate, epochs, loss, accuracy, taken}], batchnorm: is there any}; of a soup
{soup: {loss, accuracy}, best_run: {run, rate, validation, test}, gain: {mean, low,
high} of the result over that run}; of WiSE-FT {alphas: [{alpha, loss, accuracy}],
alpha}.  Losses (nats) and accuracies are of the validation part.
"""

from course_lib.show import plots
from course_lib.show.pages import Picture, Table, percent


def said(found, config) -> list[str]:
    """How the weights came about, in sentences."""
    head = found["head"]
    how = f"{head['epochs']} epochs" if "epochs" in head else "a logistic regression"
    if "C" in head:
        how += f" with C = {head['C']:g}"
    lines = [
        "The head learned alone first, on the frozen network "
        f"({how}, {_numbers(head)}), and training went on from there "
        "(LP-FT, Kumar et al. 2022, arXiv:2202.10054)."
    ]
    if "soup" in found:
        lines.append(_soup(found, config.soup))
    if "alphas" in found:
        lines.append(_line(found))
    if found["batchnorm"]:
        lines.append(
            "BatchNorm kept the pretrained running mean and variance in all runs; "
            "scale and shift are weights, and learned and were mixed as these."
        )
    read = "the result and the best single run" if "soup" in found else "the result"
    return [
        *lines,
        "All choices were made by validation loss, so the validation figures flatter; "
        f"the test part was read afterwards, for {read} alone.",
    ]


def _numbers(one) -> str:
    return f"validation loss {one['loss']:.4f}, accuracy {percent(one['accuracy'])}"


def _soup(found, wanted: int) -> str:
    """Which runs were averaged, and how the result compares with the best of them."""
    runs, best = found["runs"], found["best_run"]
    taken = [str(run["run"]) for run in runs if run["taken"]]
    lost = wanted - len(runs)
    diverged = f" ({lost} diverged and {'was' if lost == 1 else 'were'} left out)"
    line = f"Greedy soup of {wanted} runs{diverged if lost else ''}"
    if len(taken) == 1:
        line += f": no other run improved run {taken[0]}, so it is run {taken[0]} alone"
    else:
        line += f": the weights of runs {', '.join(taken)} were averaged"
    own = next(run for run in runs if run["run"] == best["run"])
    line += f" ({_numbers(found['soup'])}; of the best single run, {best['run']}, "
    line += f"{_numbers(own)}; Wortsman et al. 2022, arXiv:2203.05482)."
    if len(taken) == 1 and found.get("alpha", 1) == 1:  # the same network
        return line
    low, high = (100 * found["gain"][end] for end in ("low", "high"))
    return (
        f"{line} On the test part the result is {100 * found['gain']['mean']:+.1f} "
        f"points from that run (95 % interval {low:+.1f} to {high:+.1f})."
    )


def _line(found) -> str:
    """Which mixing weight was taken."""
    end = "the soup" if "soup" in found else "the fine-tuned network"
    tried = ", ".join(f"{row['alpha']:g}" for row in found["alphas"])
    row = next(row for row in found["alphas"] if row["alpha"] == found["alpha"])
    chose = f"Of alpha {tried} validation chose {row['alpha']:g}"
    if len(found["alphas"]) == 1:
        chose = f"The configuration sets alpha to {tried}"
    line = (
        f"WiSE-FT, weights (1 - alpha) start + alpha end: the start is the pretrained "
        f"network with the head that learned alone, the end {end}. {chose} "
        f"({_numbers(row)}; Wortsman et al. 2022, arXiv:2109.01903)"
    )
    if row["alpha"] == 0:
        line += ": the start itself, so fine-tuning changed nothing below the head"
    if row["alpha"] == 1:
        line += f": {end} itself, unmixed"
    return line + "."


def pieces(found) -> list:
    """Tables and a figure for the page."""
    shown = []
    if "soup" in found:
        shown.append(runs_table(found))
    if "alphas" in found:
        shown.append(alphas_table(found))
        if len(found["alphas"]) > 1:
            shown.append(Picture(*alphas_figure(found)))
    return shown


def runs_table(found) -> Table:
    """The start, each run and their soup, by validation."""
    rows = [
        (
            f"run {run['run']}",
            run["seed"],
            f"{run['factor']:g}",
            run["epochs"],
            f"{run['loss']:.4f}",
            percent(run["accuracy"]),
            "yes" if run["taken"] else "no",
        )
        for run in found["runs"]
    ]
    for name, one in (("the head alone", "head"), ("greedy soup", "soup")):
        numbers = f"{found[one]['loss']:.4f}", percent(found[one]["accuracy"])
        epochs = found[one].get("epochs", "")
        rows.append((name, "", "", epochs, *numbers, ""))
    heads = ("weights", "seed", "rates times", "epochs", "validation loss",
             "validation accuracy", "in the soup")  # fmt: skip
    return Table("Runs from one trained head, and their soup", heads, rows)


def alphas_table(found) -> Table:
    """Validation loss and accuracy by mixing weight."""
    rows = [
        (
            f"{row['alpha']:g}",
            f"{row['loss']:.4f}",
            percent(row["accuracy"]),
            "chosen" if row["alpha"] == found["alpha"] else "",
        )
        for row in found["alphas"]
    ]
    heads = ("alpha", "validation loss", "validation accuracy", "")
    return Table("Mixing weight: 0 is the start, 1 the fine-tuned end", heads, rows)


def alphas_figure(found):
    """(figure, alternative text): validation loss and accuracy along the line."""
    rows, chosen = found["alphas"], found["alpha"]
    alphas = [row["alpha"] for row in rows]
    place = alphas.index(chosen)
    figure, axes = plots.new(width=7.2, height=3.0, columns=2)
    labels = {"loss": "validation loss (nats)", "accuracy": "validation accuracy"}
    for ax, (key, label) in zip(axes, labels.items()):
        values = [row[key] for row in rows]
        ax.plot(alphas, values, color=plots.COLOURS[0], marker=plots.MARKERS[0])
        ax.plot(chosen, values[place], marker="o", markersize=11, fillstyle="none",
                color=plots.COLOURS[0])  # fmt: skip
        ax.set(xlabel="alpha: 0 start, 1 fine-tuned", ylabel=label)
    axes[0].set_title(f"A ring marks the weight chosen, {chosen:g}")
    return figure, (
        "Validation loss and accuracy by mixing weight between the start and the "
        f"fine-tuned end; chosen is {chosen:g} with a loss of {rows[place]['loss']:.4f}"
        f" and an accuracy of {percent(rows[place]['accuracy'])}."
    )
