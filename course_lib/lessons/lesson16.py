"""Lesson 16: figures of defects without labels, of masks, of search and of series."""

import numpy as np

from course_lib import datasets
from course_lib.analysis import statistics
from course_lib.lessons import lesson16_masks, lesson16_series, lesson16_solar
from course_lib.show import plots

NAMES = {
    "patches": "patches, ImageNet",
    "patches_kind": "patches, a memory a kind",
    "patches_random": "patches, random weights",
    "pooled": "whole cells, ImageNet",
    "brightness": "brightness alone",
    "supervised": "supervised probe",
}
EMBEDDINGS = {
    "pixels": "pixels",
    "lite0": "ImageNet",
    "whitened": "ImageNet, whitened",
    "learned": "ImageNet, map learned",
}
CODE = 16  # bytes of the lesson's code
WAYS = {
    "imagenet": "picture, ImageNet",
    "random": "picture, random weights",
    "pixels": "picture, its pixels",
    "rocket": "ROCKET",
    "rocket_levels": "ROCKET, levels kept",
}

# -- defects -----------------------------------------------------------------------


def glowing(images, heat):
    """Pictures uint8 (N, H, W, 3) with their heat maps (N, H, W) laid over in red."""
    heat = np.asarray(heat)
    low, high = np.quantile(heat, (0.5, 0.995))
    glow = np.clip((heat - low) / (high - low), 0, 1)[..., None]
    red = np.array([255, 60, 0])
    return ((1 - 0.7 * glow) * images + 0.7 * glow * red).astype(np.uint8)


def show_heat(data, heat, scores):
    """Each cell above its heat map; the titles give label and score."""
    titles = [f"{data.classes[y]}" for y in data.labels]
    titles += [f"score {score:.1f}" for score in scores]
    fig = plots.image_grid(
        [*data.images, *glowing(data.images, heat)],
        titles,
        columns=len(data),
        title="Where the memory finds six cells strange",
    )
    plots.show(
        fig,
        alt=f"{len(data)} solar cells and the same cells with strange patches in red. "
        "On defective cells the red lies on dark or broken parts.",
    )


def crossing(grid, way="patches", number="auroc"):
    """(labels a class of the supervised probe, the next more): its mean gets there.

    From the second on its mean is higher than that of the way without labels; both are
    NaN where it never is, the first where it always is.
    """
    known = grid.select(method="supervised")
    labels = sorted({row["labels"] for row in known})
    means = np.array([known.values(number, labels=n).mean() for n in labels])
    above = means > grid.values(number, method=way).mean()
    if not above[-1]:
        return np.nan, np.nan
    at = len(labels) - int(np.argmin(above[::-1])) if not above.all() else 0
    return (labels[at - 1] if at else np.nan), labels[at]


def show_defects(grid):
    """AUROC of the supervised probe over labels, and of the ways without labels."""
    labels, lines = grid.select(method="supervised").curves("auroc", "labels", "method")
    for method in lesson16_solar.UNLABELLED:
        values = grid.values("auroc", method=method)
        lines[method] = np.repeat(values[:, None], len(labels), axis=1)
    reached, (under, over) = (
        grid.values("auroc", method="patches").mean(),
        crossing(grid),
    )
    fig = plots.line_with_spread(
        labels,
        {NAMES[method]: values for method, values in lines.items()},
        log_x=True,
        xlabel="labels a class of the supervised probe",
        ylabel="AUROC, test cells",
        title=f"Without a defect label {reached:.2f}; "
        f"the probe's mean passes it from {under:g} to {over:g}",
    )
    plots.show(
        fig,
        alt="AUROC on solar cells. The supervised probe rises with its labels; the "
        f"ways without labels are flat lines, {len(lesson16_solar.SEEDS)} draws each.",
    )


def show_kinds(grid):
    """AUROC on all cells and on each kind, by way."""
    columns = {"all": "auroc", "mono": "auroc_mono", "poly": "auroc_poly"}
    methods = dict.fromkeys(row["method"] for row in grid if not row["labels"])
    rows = {NAMES[m]: grid.select(method=m) for m in methods}
    for n in (10, 100):
        name = f"supervised probe, {n} labels a class"
        rows[name] = grid.select(method="supervised", labels=n)
    matrix = [
        [row.values(number).mean() for number in columns.values()]
        for row in rows.values()
    ]
    worst = rows[NAMES["patches"]]
    mono, poly = (worst.values(f"auroc_{kind}").mean() for kind in ("mono", "poly"))
    fig = plots.heatmap(
        matrix,
        list(rows),
        list(columns),
        title=f"Patches:\nmono {mono:.2f},\npoly {poly:.2f}",
    )
    plots.show(
        fig,
        alt="AUROC by way of finding defects, on all test cells and on mono- and "
        "polycrystalline ones apart.",
    )


# -- masks -------------------------------------------------------------------------


def show_masks(images, masks, logits, value):
    """Pictures, true masks, and what the head found, one below the other."""
    true, found = np.asarray(masks)[:, 0], np.asarray(logits)[:, 0] > 0
    fig = plots.image_grid(
        [*images, *true, *found.astype(float)],
        columns=len(images),
        title=f"One draw: found masks (last row) have a test IoU of {value:.2f}",
    )
    plots.show(
        fig,
        alt=f"{len(images)} drawn pictures with one shape each, their masks, and the "
        "masks that a linear head on a frozen pyramid found.",
    )


RIVALS = {
    "frozen": "frozen pyramid, ImageNet",
    "border": "colour unlike the border's",
    "small": "small network from scratch",
    "frozen_random": "frozen pyramid, random weights",
}


def best_masks(grid):
    """The way of the highest mean IoU with most masks."""
    most = max(row["masks"] for row in grid)
    means = {way: grid.values("iou", way=way, masks=most).mean() for way in RIVALS}
    return max(means, key=means.get)


def show_few_masks(grid):
    """IoU over the number of masks by way, with 95 % intervals over draws."""
    fig, ax = plots.new(height=3.4)
    found = {}
    for i, (way, name) in enumerate(RIVALS.items()):
        counts = sorted({row["masks"] for row in grid.select(way=way)})
        reached = [
            statistics.mean_and_interval(grid.values("iou", way=way, masks=n))
            for n in counts
        ]
        ax.errorbar(
            np.array(counts) * 1.04 ** (i - 1.5),
            [one.mean for one in reached],
            [one.half_width for one in reached],
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            capsize=3,
            label=name,
        )
        found[way] = reached[-1].mean
    ax.axhline(lesson16_masks.everything(), color="0.4", linestyle=":")
    ax.text(5, lesson16_masks.everything(), "every pixel marked ", va="bottom")
    ax.set_xscale("log")
    ax.set_xticks(lesson16_masks.COUNTS, map(str, lesson16_masks.COUNTS))
    ax.minorticks_off()
    ax.set(
        xlabel="pictures with a mask",
        ylabel="IoU, 200 test pictures",
        ylim=(0, None),
        title=f"With {lesson16_masks.COUNTS[-1]} masks: frozen {found['frozen']:.2f}, "
        f"border's colour {found['border']:.2f}, from scratch {found['small']:.2f}",
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), title="mean, 95 %")
    plots.show(
        fig,
        alt="IoU against the number of masks for a head on frozen ImageNet maps and "
        "for the colour's distance from the border; with most masks also for a small "
        "network from scratch and a head on random maps.",
    )


# -- search ------------------------------------------------------------------------


def show_search(shown, best, right, seed=0):
    """Queries beside the cells found for them, the nearest first.

    shown: places of the queries.  best, right (N, k): the places found, and which of
    them are the query's own cell or a near-duplicate of it.
    """
    gallery = datasets.solar_cells.load("test", labels="levels").images
    queries = lesson16_solar.disturbed(gallery, seed)
    images, titles = [], []
    for place in shown:
        images += [queries[place], *gallery[best[place]]]
        titles += ["query", *("right" if hit else "other" for hit in right[place])]
    fig = plots.image_grid(
        images,
        titles,
        columns=1 + best.shape[1],
        size=1.15,
        title=f"{right[:, 0].mean():.0%} of {len(best)} queries find their cell first",
    )
    plots.show(
        fig,
        alt="Three disturbed pictures of solar cells as queries, each beside the most "
        "similar cells of the archive, marked right or other.",
    )


def show_recall(found):
    """Recall by kind of vector, at 1 and at 10, with Wilson's intervals.

    found: what lesson16_solar.search gives.
    """
    fig, ax = plots.new(height=3.0)
    for i, k in enumerate((1, 10)):
        rows = [found[embedding][k] for embedding in EMBEDDINGS]
        ends = np.array([statistics.wilson_interval(r.sum(), len(r)) for r in rows])
        means = np.array([row.mean() for row in rows])
        ax.errorbar(
            means,
            np.arange(len(rows)) + 0.12 * (2 * i - 1),
            xerr=np.abs(ends.T - means),
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            linestyle="none",
            capsize=3,
            label=f"recall at {k}",
        )
    ax.set_yticks(range(len(EMBEDDINGS)), list(EMBEDDINGS.values()))
    ax.invert_yaxis()
    plain, best = (found[name][1].mean() for name in ("lite0", "learned"))
    ax.set(
        xlabel=f"share of {len(rows[0])} queries, with 95 % interval",
        xlim=(0, 1),
        title=f"Recall at 1: plain features {plain:.2f}, a learned map {best:.2f}",
    )
    plots.clear_legend(ax)
    plots.show(
        fig,
        alt="Recall at 1 and at 10 for pixels, ImageNet features, the same whitened, "
        "and the same under a learned map. The learned map is far ahead.",
    )


def show_bytes(found):
    """Recall over the bytes of a code, beside that of whole vectors."""
    sizes, lines = lesson16_solar.BYTES, {}
    for k in (1, 10):
        lines[f"at {k}, codes"] = [[found[size][k].mean() for size in sizes]]
        whole = found["learned"][k].mean()
        lines[f"at {k}, whole vectors"] = [[whole] * len(sizes)]
    kept, whole = (found[vector][10].mean() for vector in (CODE, "learned"))
    fig = plots.line_with_spread(
        sizes,
        lines,
        log_x=True,
        xlabel="bytes a cell",
        ylabel="recall",
        title=f"{CODE} bytes keep {kept:.2f} of {whole:.2f} at 10",
    )
    plots.show(
        fig,
        alt="Recall at 1 and at 10 against the bytes of a product quantizer's code, "
        "beside the recall of whole vectors.",
    )


# -- series ------------------------------------------------------------------------


def show_pictures():
    """Three series of each set as the pictures that the network sees."""
    images, titles = [], []
    names = {"JapaneseVowels": "speaker", "ACSF1": "appliance"}
    for target, name in names.items():
        data = lesson16_series.pictures(target, "train")
        for label in (0, 1, 2):
            images.append(data.images[np.flatnonzero(data.labels == label)[0]])
            titles.append(f"{name} {data.classes[label]}")
    fig = plots.image_grid(
        images,
        titles,
        title="Speech: a map of 12 coefficients.  Power: a spectrogram",
        size=1.15,
    )
    for ax, upwards in ((fig.axes[0], "coefficient"), (fig.axes[3], "frequency")):
        ax.axis("on")
        ax.set(xticks=[], yticks=[], xlabel="time", ylabel=upwards)
    plots.show(
        fig,
        alt="Grey pictures: smooth bands for the 12 coefficients of three speakers, "
        "and spectrograms of the power of three appliances, with a bright line at half "
        "height.  Time runs to the right.",
    )


def best_way(grid, target):
    """The way of the highest mean accuracy on a set."""
    rows = grid.select(target=target)
    ways = dict.fromkeys(row["way"] for row in rows)
    return max(ways, key=lambda way: rows.values("accuracy", way=way).mean())


def show_ways(grid):
    """Mean and interval of each way, by set."""
    fig, ax = plots.new(height=3.8)
    targets, lead = lesson16_series.TARGETS, []
    for i, (way, name) in enumerate(WAYS.items()):
        found = [grid.values("accuracy", way=way, target=t) for t in targets]
        there = [at for at, values in enumerate(found) if len(values)]
        reached = [statistics.mean_and_interval(found[at]) for at in there]
        ax.errorbar(
            np.array(there) + 0.13 * (i - 2),
            [interval.mean for interval in reached],
            [interval.half_width for interval in reached],
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            linestyle="none",
            capsize=3,
            label=name,
        )
    for target, what in targets.items():
        lead.append(f"{what} {WAYS[best_way(grid, target)]}")
    ax.set_xticks(range(len(targets)), list(targets.values()))
    ax.set(ylabel="balanced test accuracy", title="Best: " + "; ".join(lead))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), title="mean, 95 %")
    plots.show(
        fig,
        alt="Balanced accuracy on speech and power for pictures read by ImageNet "
        "weights, by random weights and as pixels, and for random kernels.",
    )


def spectrogram_gains(grid):
    """{set: Interval}: accuracy with ImageNet's weights minus that with random ones."""
    gains = {}
    for target, what in lesson16_series.SPECTROGRAMS.items():
        rows = grid.select(target=target)
        gains[what] = rows.select(weights="imagenet").minus(
            rows.select(weights="random")
        )
    return gains


def show_spectrograms(gains):
    """ImageNet's weights minus random ones on spectrograms, {set: Interval}."""
    fig, ax = plots.new(height=2.6)
    names = list(lesson16_series.SPECTROGRAMS.values())
    means = 100 * np.array([gain.mean for gain in gains.values()])
    half = 100 * np.array([gain.half_width for gain in gains.values()])
    ax.errorbar(means, range(len(names)), xerr=half, fmt="o", capsize=3)
    ax.axvline(0, color="0.4", linestyle=":")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    better = sum(gain.low > 0 for gain in gains.values())
    ax.set(
        xlabel="points of accuracy, mean and 95 % interval of "
        f"{len(lesson16_series.DRAWS)} draws",
        title=f"ImageNet minus random weights: above 0 on {better} of {len(names)} "
        "sets of spectrograms",
    )
    plots.show(
        fig,
        alt="Balanced accuracy with ImageNet's weights minus that with random weights, "
        f"for spectrograms of {', '.join(names)}, with intervals.",
    )


def masks_live(n=20, seed=0):
    """(training pictures, masks), (test pictures, masks) of the drawn shapes."""
    first = lesson16_masks.FIRST
    train = lesson16_masks.drawn(n, first["train"] + seed)
    return train, lesson16_masks.drawn(lesson16_masks.SIZES["test"], first["test"])
