"""A diagnosis in words, figures and one page of HTML."""

from collections.abc import Collection

import numpy as np

from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table, interval, percent
from course_lib.training import History

WAYS = {
    "scratch": "Trained from scratch",
    "random": "Probe on random weights",
    "frozen": "Probe on frozen features",
    "tuned": "Fine-tuned",
}
GAINS = {
    "transfer": "best transfer over no transfer",
    "frozen": "frozen features over no transfer",
    "tuned": "fine-tuning over no transfer",
    "tuned over frozen": "fine-tuning over frozen features",
    "frozen over random": "frozen features over those of random weights",
}
SAID = {
    "helps": "better",
    "hurts": "worse",
    "no difference": "no difference that matters",
    "no evidence": "no evidence either way",
}


# -- words ------------------------------------------------------------------------


def points(gain) -> str:
    """An interval in percentage points: "+6.1 ± 1.2"."""
    return f"{100 * gain['mean']:+.1f} ± {100 * gain['half_width']:.1f}"


def verdict(d) -> str:
    """The headline: which way the gain points, and how sure that is."""
    gain = d.gains["transfer"]
    size = f"{100 * abs(gain['mean']):.1f} ± {100 * gain['half_width']:.1f} points"
    if d.kind in ("helps", "hurts"):
        return f"Transfer {d.kind} by {size}."
    said, more = f"{points(gain)} points", gain["needed"]
    if gain["kind"] == "hurts":  # and the other way does not
        ways = (d.gains[way] for way in ("frozen", "tuned"))
        gain = next(one for one in ways if one["kind"] != "hurts")
        more = gain["needed"]
        said = (
            f"frozen features {points(d.gains['frozen'])}, fine-tuning "
            f"{points(d.gains['tuned'])} points"
        )
    if d.kind == "no difference":
        least = 100 * d.options["matters"]
        return f"No difference of {least:g} points or more: {said}."
    return (
        f"No evidence either way: {said}. To tell, about {more['repeats']} repeats on "
        f"{more['pictures']:,} test pictures would be needed; these were "
        f"{gain['repeats']} on {gain['pictures']:,}."
    )


def way(chosen) -> str:
    """How the best of one side was trained, as the object of a sentence."""
    return {
        "scratch": "training from scratch",
        "random": "a logistic regression on features of random weights",
        "frozen": f"the frozen features of {chosen['candidate']} with a logistic "
        "regression",
        "tuned": f"fine-tuning of all layers at a {chosen['candidate']}",
    }[chosen["arm"]]


def budget(d) -> str:
    """The label budget in words."""
    n = d.options["labels_per_class"]
    return f"{n} labels a class" if n else f"{d.data['train']:,} labels"


def other_way(d) -> str:
    """What the transfer that was not chosen would have given."""
    gain = d.gains["tuned over frozen"]
    best_is_tuned = d.chosen["with"]["arm"] == "tuned"
    other = "a probe on frozen features" if best_is_tuned else "fine-tuning"
    size = points(gain | {"mean": -gain["mean"]} if best_is_tuned else gain)
    kind = gain["kind"]
    if best_is_tuned:
        kind = {"helps": "hurts", "hurts": "helps"}.get(kind, kind)
    return {
        "helps": f"on the test pictures {other} did better still ({size} points), "
        "which validation did not show",
        "hurts": f"{other} is worse ({size} points)",
        "no difference": f"{other} gives nothing more ({size} points)",
        "no evidence": f"whether {other} gives more is open ({size} points)",
    }[kind]


def recommendation(d) -> str:
    """What to do, in a sentence or two."""
    ours, theirs = d.chosen["with"], d.chosen["without"]
    gain, at = d.gains["transfer"], budget(d)
    apart = f"{100 * abs(gain['mean']):.1f} points"
    if d.kind == "helps":
        return (
            f"Use {way(ours)}: {percent(ours['test'])}, {apart} above {way(theirs)}; "
            f"at {at} {other_way(d)}."
        )
    if d.kind == "hurts":
        return (
            f"Do not start from {d.backbone} here: {way(theirs)} reaches "
            f"{percent(theirs['test'])}, {apart} above the best that its weights gave "
            f"({way(ours)}). Look for a source nearer to these pictures, or check the "
            "preprocessing that belongs to the weights."
        )
    both = (
        f"{capital(way(ours))} reached {percent(ours['test'])}, {way(theirs)} "
        f"{percent(theirs['test'])} at {at}"
    )
    if gain["kind"] == "hurts":
        return (
            f"{both}; but {other_way(d)}, so the weights themselves do no harm that "
            "this diagnosis can see. Do not choose between these by a few pictures."
        )
    if d.kind == "no difference":
        return f"Choose by cost. {both}."
    more = gain["needed"]
    pictures = more["pictures"] > gain["pictures"]
    collect = (
        "more pictures to test on and more repeats" if pictures else "more repeats"
    )
    return (
        f"Do not decide on these numbers. {both}, closer than this diagnosis can tell "
        f"apart: collect {collect} (--minutes)."
    )


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def reasons(d) -> list[str]:
    """Why, in sentences with numbers."""
    found = []
    for arm in ("frozen", "tuned"):
        gain, summary = d.gains[arm], d.arms[arm]
        found.append(
            f"{WAYS[arm]} ({commonest(summary['taken'])}): "
            f"{percent(np.mean(summary['test']))}, {points(gain)} points against no "
            f"transfer: {SAID[gain['kind']]}."
        )
    scratch, random = (np.mean(d.arms[arm]["test"]) for arm in ("scratch", "random"))
    found.append(
        f"Without the weights: {percent(scratch)} trained from scratch, "
        f"{percent(random)} by a probe on random weights. Validation preferred "
        f"{way(d.chosen['without'])}, which is what transfer has to beat."
    )
    found += [depth_reason(d), distance_reason(d), score_reason(d)]
    found += [forgetting_reason(d), calibration_reason(d), confident_reason(d)]
    worst = [row for row in d.subgroups if row["column"] == "class"][0]
    found.append(
        f"The class with most errors is {worst['group']!r}: "
        f"{percent(worst['accuracy'])} of {worst['n']} pictures (95 % interval "
        f"{interval(worst)}), "
        f"{percent(worst['without'])} without transfer."
    )
    return [sentence for sentence in found if sentence]


def commonest(values) -> str:
    """The value that occurs most often."""
    return max(dict.fromkeys(values), key=values.count)


def depth_reason(d) -> str:
    """What the probes by depth say."""
    stages, known = d.depth["stages"], np.mean(d.depth["pretrained"], axis=0)
    best, random = int(np.argmax(known)), np.mean(d.depth["random"], axis=0)
    return (
        f"By depth, the pretrained features are best read at {stages[best]} "
        f"({percent(known[best])}; at the last stage {percent(known[-2])}); those of "
        f"random weights at {stages[int(np.argmax(random))]} ({percent(random.max())})."
    )


def distance_reason(d) -> str:
    """What the distance from the source says."""
    there = d.source["distance"]
    if there is None:
        return (
            "How far these pictures are from the source's is not known: its pictures "
            "are not at hand."
        )
    return (
        f"Distance from the source's pictures: proxy A-distance "
        f"{there['a_distance']:.2f} of 2 (two halves of the source: "
        f"{there['a_floor']:.2f}), Frechet {there['frechet']:,.0f} (halves: "
        f"{there['frechet_floor']:,.0f}). A large distance alone says little: what "
        "counts is what the features can tell apart."
    )


def score_reason(d) -> str:
    """What the transferability scores say."""
    ours, theirs = d.scores["pretrained"], d.scores["random"]
    if ours["LogME"] is None or theirs["LogME"] is None:
        return "The features are constant or not finite: no transferability score."
    return "Scores without training, against random weights: " + (
        f"LogME {ours['LogME']:.2f} ({theirs['LogME']:.2f}), 5 nearest neighbours "
        f"{percent(ours['kNN'])} ({percent(theirs['kNN'])})."
    )


def forgetting_reason(d) -> str:
    """How much of the source task fine-tuning forgot."""
    kept = d.source["forgetting"]
    if not kept:
        return ""
    heads = ", ".join(
        f"{head} {percent(kept['before'][head])} to {percent(kept['after'][head])}"
        for head in kept["before"]
    )
    return f"After fine-tuning, the source heads fell from and to: {heads}."


def calibration_reason(d) -> str:
    """Whether probabilities can be trusted."""
    ours, theirs = (np.mean(d.calibration[s]["error"]) for s in ("with", "without"))
    return (
        f"Expected calibration error {100 * ours:.1f} points with transfer, "
        f"{100 * theirs:.1f} without."
    )


def confident_reason(d) -> str:
    """What the confident errors say."""
    ours, theirs = d.confident["with"], d.confident["without"]
    said = (
        f"{percent(ours['share'])} of the answers with transfer are wrong with a "
        f"probability above 0.9 ({percent(theirs['share'])} without)"
    )
    if ours["p"] is None:
        few = "the source's classes are not known"
        if ours["heads"]:
            few = f"too few ({ours['pictures']} pictures) to see what they follow"
        return f"{said}; {few}."
    return (
        f"{said}; that they follow what the source head sees has p = {ours['p']:.3f}."
    )


def sign_sentence(sign) -> str:
    """A warning sign with its numbers."""
    numbers = sign["numbers"]
    if "of" in numbers:
        how = f"in {numbers['repeats']} of {numbers['of']} fine-tuning runs"
    elif "p" in numbers:
        p = "not testable" if numbers["p"] is None else f"p = {numbers['p']:.3f}"
        how = (
            f"{percent(numbers['with'])} of answers, {percent(numbers['without'])} "
            f"without transfer; {p}"
        )
    else:
        how = f"{percent(numbers['with'])} against {percent(numbers['without'])}"
    return f"{sign['sign']}: {'YES' if sign['raised'] else 'no'} ({how})"


def protocol(d) -> list[str]:
    """What was done, in sentences."""
    data, plan = d.data, d.plan
    side = " x ".join(map(str, data["used_side"]))
    own = "the same for all" if data["shared_test"] else "others in each"
    said = [
        f"{data['given']:,} pictures of {len(data['classes'])} classes, read at {side} "
        f"pixels. Each repeat trained on {data['train']:,} ({budget(d)}), chose by "
        f"{data['validation']:,} and was tested on {data['test']:,}, {own}.",
        f"{plan['repeats']} repeats with other training pictures and seeds; every "
        f"training run had {plan['steps']} updates and ended with its last weights. "
        "Learning rates "
        f"{' and '.join(f'{lr:g}' for lr in d.options['rates'])} were tried from "
        "pretrained and from random weights alike, probes on every stage of both; "
        "all choices were made on validation pictures.",
    ]
    if data["shared_test"] and 2 * data["train"] > data["pool"]:
        said.append(
            "The interval (95 %) counts the seeds and the test pictures; all repeats "
            "trained on much the same pictures, so that it hardly counts their draw."
        )
    elif data["shared_test"]:
        said.append(
            "The interval (95 %) counts the draw of the training pictures, the seeds "
            "and the test pictures."
        )
    else:
        said.append(
            "The pictures are too few for a test part of their own: the repeats share "
            "them, and the interval (95 %) is widened for that, so it is large."
        )
    if plan["steps"] < plan["full_steps"]:
        said.append(
            f"The time was too short: all runs had {plan['steps']} updates instead of "
            f"{plan['full_steps']}, which harms training from scratch most. Give more "
            "--minutes for a fair comparison."
        )
    return said + d.notes


def text(d, told: Collection[str] = ()) -> str:
    """The whole report as plain text, without notes that were told before."""
    lines = [
        f"{d.backbone} on {d.data['name']!r} ({d.metric})",
        "",
        d.verdict,
        d.recommendation,
        "",
        "Why",
        *(f"- {sentence}" for sentence in d.reasons),
        "",
        "Warning signs of negative transfer",
        *(f"- {sign_sentence(sign)}" for sign in d.signs),
        "",
        "What was done",
        *(f"- {sentence}" for sentence in protocol(d) if sentence not in told),
    ]
    return "\n".join(lines)


# -- figures ----------------------------------------------------------------------


def figures(d) -> list[tuple]:
    """(name, figure, alternative text) of each figure."""
    made = [("accuracy", *ways_figure(d)), ("depth", *depth_figure(d))]
    if all(d.histories.values()):
        made.append(("training", *training_figure(d)))
    return [*made, ("calibration", *calibration_figure(d))]


def ways_figure(d):
    """(figure, alternative text): accuracy of every way."""
    values = {WAYS[arm]: np.array(d.arms[arm]["test"]) for arm in WAYS}
    figure = plots.bars_with_spread(
        values,
        ylabel=f"test {d.metric}",
        title=d.verdict.split(". ")[0].rstrip("."),
        digits=3,
    )
    means = ", ".join(f"{k.lower()} {percent(v.mean())}" for k, v in values.items())
    return figure, f"Bars of test {d.metric} by way of training, mean: {means}."


def depth_figure(d):
    """(figure, alternative text): probes by depth."""
    known, random = (np.array(d.depth[k]) for k in ("pretrained", "random"))
    stages = d.depth["stages"]
    best = stages[int(known.mean(axis=0).argmax())]
    figure = plots.by_stage(
        {"pretrained weights": known, "random weights": random},
        stages,
        f"A probe on {best} reads the classes best",
        f"test {d.metric} of a probe",
        chance=1 / len(d.data["classes"]),
    )
    pairs = ", ".join(
        f"{stage} {percent(a)} and {percent(b)}"
        for stage, a, b in zip(stages, known.mean(axis=0), random.mean(axis=0))
    )
    return figure, (
        f"Lines of probe {d.metric} by stage, pretrained and random weights: {pairs}."
    )


def training_figure(d):
    """(figure, alternative text): loss while training."""
    runs = {WAYS[k]: History.from_dict(h) for k, h in d.histories.items()}
    last = {k: h.val_accuracy[-1] for k, h in runs.items()}
    figure = plots.history(runs, title="First repeat")
    means = ", ".join(f"{k.lower()} {percent(v)}" for k, v in last.items())
    return figure, (
        "Loss and accuracy over training in the first repeat, from random and from "
        f"pretrained weights; validation accuracy at the end: {means}."
    )


def calibration_figure(d):
    """(figure, alternative text): reliability diagrams."""
    sides = {
        "with transfer": d.calibration["with"],
        "without": d.calibration["without"],
    }
    return plots.reliability(
        {label: (side["rows"], np.mean(side["error"])) for label, side in sides.items()}
    )


# -- the page ---------------------------------------------------------------------


def html(d) -> str:
    """One page without external resources; every text from outside is escaped."""
    shown = {name: Picture(figure, alt) for name, figure, alt in figures(d)}
    trained = shown.get("training", "A training run diverged.")
    groups = pages.group_tables(
        d.subgroups, "pictures", {"without transfer": "without"}
    )
    sections = {
        "What each way reached": [shown["accuracy"], ways_table(d), gains_table(d)],
        "Why": [d.reasons],
        "What each stage knows": [shown["depth"]],
        "Warning signs of negative transfer": [
            [sign_sentence(sign) for sign in d.signs], trained, *pairs_tables(d)
        ],
        "Distance and scores": scores_tables(d),
        "Calibration": [shown["calibration"]],
        "Who bears the errors": groups,
        "What was done": [protocol(d), *seconds_line(d)],
    }  # fmt: skip
    return pages.report(
        f"Diagnosis: {d.backbone} on {d.data['name']}",
        f"Does {d.backbone} help on {d.data['name']}?",
        [d.verdict, d.recommendation],
        sections,
        d.kind.replace(" ", "-"),
    )


def ways_table(d) -> Table:
    """Accuracies of every way to train."""
    rows = [
        (
            WAYS[arm],
            commonest(one["taken"]),
            percent(np.mean(one["validation"])),
            percent(np.mean(one["test"])),
            ", ".join(f"{100 * value:.1f}" for value in one["test"]),
        )
        for arm, one in d.arms.items()
    ]
    heads = ("way", "chosen by validation", "validation", "test", "test by repeat, %")
    return Table(f"{d.metric.capitalize()} of each way to train", heads, rows)


def gains_table(d) -> Table:
    """Gains with their intervals."""
    rows = [
        (label, points(gain), SAID[gain["kind"]])
        for name, label in GAINS.items()
        for gain in [d.gains[name]]
    ]
    heads = ("comparison", "points, 95 % interval", "judgement")
    return Table("How sure each difference is", heads, rows)


def scores_tables(d) -> list[Table | str]:
    """Distances, or a sentence where there are none, and transferability scores."""
    rows = []
    for name, value in d.scores["pretrained"].items():
        pair = (value, d.scores["random"][name])
        rows.append((name, *("none" if v is None else f"{v:.3f}" for v in pair)))
    scored = Table(
        "Transferability scores of the last stage, larger is better",
        ("score", "pretrained weights", "random weights"),
        rows,
    )
    there = d.source["distance"]
    if there is None:
        return [distance_reason(d), scored]
    rows = [
        (name, f"{there[key]:.2f}", f"{there[floor]:.2f}")
        for name, key, floor in (
            ("proxy A-distance, 0 to 2", "a_distance", "a_floor"),
            ("Frechet distance, standardised features", "frechet", "frechet_floor"),
        )
    ]
    heads = ("distance", "these pictures to the source's", "two halves of the source")
    return [Table(f"Distance at {there['stage']}", heads, rows), scored]


def pairs_tables(d) -> list[Table]:
    """Confident errors, source class by answer, where there are any."""
    pairs = d.confident["with"]["pairs"]
    heads = ("source head", "the source sees", "true class", "answer", "pictures")
    caption = "Commonest confident errors with transfer"
    return [Table(caption, heads, pairs)] if pairs else []


def seconds_line(d) -> list[str]:
    """What it took, where that is known."""
    total = d.seconds.get("total")
    return [f"It took {total:.0f} seconds."] if total else []
