"""A diagnosis in words, figures and one page of HTML."""

from collections.abc import Collection

import numpy as np

from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table, interval, percent
from course_lib.training import History

WAYS = {  # by their names in `course train` and in the lessons
    "counts": "Counted words (TF-IDF)",
    "scratch": "Trained from scratch",
    "random": "Probe on random weights",
    "frozen": "Probe on frozen features",
    "full": "Fine-tuned in full",
}
GAINS = {
    "transfer": "best transfer over no transfer",
    "frozen": "frozen features over no transfer",
    "full": "fine-tuning over no transfer",
    "full over frozen": "fine-tuning over frozen features",
    "frozen over random": "frozen features over those of random weights",
}
SAID = {
    "helps": "better",
    "hurts": "worse",
    "no difference": "no difference that matters",
    "no evidence": "no evidence either way",
}


WITHOUT = {
    "scratch": "trained from scratch",
    "random": "by a probe on random weights",
    "counts": "by counted words",
}


# -- words ------------------------------------------------------------------------


def points(gain) -> str:
    """An interval in percentage points: "+6.1 ± 1.2"."""
    return f"{100 * gain['mean']:+.1f} ± {100 * gain['half_width']:.1f}"


def verdict(d) -> str:
    """The headline: which way the gain points, how sure that is, and on little time."""
    said, plan = judgement(d), d.plan
    if plan["steps"] < plan["full_steps"]:
        said = (
            f"With little time ({plan['steps']} updates a run instead of "
            f"{plan['full_steps']}): {said[0].lower()}{said[1:]}"
        )
    return said


def judgement(d) -> str:
    """Which way the gain points, and how sure that is."""
    gain = d.gains["transfer"]
    size = f"{100 * abs(gain['mean']):.1f} ± {100 * gain['half_width']:.1f} points"
    if d.kind in ("helps", "hurts"):
        return f"Transfer {d.kind} by {size}."
    said, more = f"{points(gain)} points", gain["needed"]
    if gain["kind"] == "hurts":  # and the other way does not
        ways = (d.gains[way] for way in ("frozen", "full"))
        gain = next(one for one in ways if one["kind"] != "hurts")
        more = gain["needed"]
        said = (
            f"frozen features {points(d.gains['frozen'])}, fine-tuning "
            f"{points(d.gains['full'])} points"
        )
    if d.kind == "no difference":
        least = 100 * d.options["matters"]
        return f"No difference of {least:g} points or more: {said}."
    return (
        f"No evidence either way: {said}. To tell, about {more['repeats']} repeats on "
        f"{more['pictures']:,} test {d.data['inputs']} would be needed; these were "
        f"{gain['repeats']} on {gain['pictures']:,}."
    )


def way(chosen) -> str:
    """How the best of one side was trained, as the object of a sentence."""
    return {
        "counts": f"a logistic regression on counted {chosen['candidate']} (TF-IDF)",
        "scratch": "training from scratch",
        "random": "a logistic regression on features of random weights",
        "frozen": f"the frozen features of {chosen['candidate']} with a logistic "
        "regression",
        "full": f"fine-tuning of all layers at a {chosen['candidate']}",
    }[chosen["arm"]]


def budget(d) -> str:
    """The label budget in words."""
    n = d.options["labels_per_class"]
    return f"{n} labels a class" if n else f"{d.data['train']:,} labels"


def other_way(d) -> str:
    """What the transfer that is not recommended would have given."""
    gain = d.gains["full over frozen"]
    full = d.recommended["arm"] == "full"
    other = "a probe on frozen features" if full else "fine-tuning"
    size = points(gain | {"mean": -gain["mean"]} if full else gain)
    kind = gain["kind"]
    if full:
        kind = {"helps": "hurts", "hurts": "helps"}.get(kind, kind)
    return {
        "helps": f"on the test {d.data['inputs']} {other} did better still ({size} "
        "points), which validation did not show",
        "hurts": f"{other} is worse ({size} points)",
        "no difference": f"{other} gives nothing more ({size} points)",
        "no evidence": f"whether {other} gives more is open ({size} points)",
    }[kind]


def cheapest(d) -> str:
    """Why this way: it is the best on validation, or the cheapest near the best."""
    best, ours = d.recommended["best"], d.recommended
    if best["arm"] == ours["arm"]:
        return "It was the best on validation."
    return (
        f"It is the cheapest way within {100 * d.options['matters']:g} points of the "
        f"best on validation, {way(best)} ({percent(best['validation'])}; this one "
        f"{percent(ours['validation'])}); on the test {d.data['inputs']} that one is "
        f"{points(ours['over'])} points ahead: {SAID[ours['over']['kind']]}."
    )


def recommendation(d) -> str:
    """What to do, in a sentence or two: the cheapest way within the margin."""
    ours, theirs = d.recommended, d.chosen["without"]
    gain, at = d.gains["transfer"], budget(d)
    apart = f"{100 * abs(ours['test'] - theirs['test']):.1f} points"
    if d.kind == "helps":
        above = "above" if ours["test"] >= theirs["test"] else "below"
        return (
            f"Use {way(ours)}: {percent(ours['test'])}, {apart} {above} {way(theirs)}; "
            f"at {at} {other_way(d)}. {cheapest(d)}"
        )
    tried = d.chosen["with"]
    if d.kind == "hurts":
        apart = f"{100 * abs(ours['test'] - tried['test']):.1f} points"
        return (
            f"Do not start from {d.backbone} here: {way(ours)} reaches "
            f"{percent(ours['test'])}, {apart} above the best that its weights gave "
            f"({way(tried)}). {cheapest(d)} Look for a source nearer to these "
            f"{d.data['inputs']}, or check the preprocessing that belongs to the "
            "weights."
        )
    both = (
        f"{capital(way(tried))} reached {percent(tried['test'])}, {way(theirs)} "
        f"{percent(theirs['test'])} at {at}"
    )
    if gain["kind"] == "hurts":
        return (
            f"{both}; but {other_way(d)}, so the weights themselves do no harm that "
            "this diagnosis can see. Do not choose between these by a few "
            f"{d.data['inputs']}."
        )
    if d.kind == "no difference":
        return (
            f"Choose by cost: {way(ours)} ({percent(ours['test'])}). {cheapest(d)} "
            f"{both}."
        )
    more = gain["needed"]
    collect = "more repeats"
    if more["pictures"] > gain["pictures"]:
        collect = f"more {d.data['inputs']} to test on and more repeats"
    return (
        f"Do not decide on these numbers. {both}, closer than this diagnosis can tell "
        f"apart: collect {collect} (--minutes). Until then the cheapest choice is "
        f"{way(ours)} ({percent(ours['test'])})."
    )


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def reasons(d) -> list[str]:
    """Why, in sentences with numbers."""
    found = []
    for arm in ("frozen", "full"):
        gain, summary = d.gains[arm], d.arms[arm]
        found.append(
            f"{WAYS[arm]} ({commonest(summary['taken'])}): "
            f"{percent(np.mean(summary['test']))}, {points(gain)} points against no "
            f"transfer: {SAID[gain['kind']]}."
        )
    others = ", ".join(
        f"{percent(np.mean(d.arms[arm]['test']))} {said}"
        for arm, said in WITHOUT.items()
        if arm in d.arms
    )
    found.append(
        f"Without the weights: {others}. Validation preferred "
        f"{way(d.chosen['without'])}, which is what transfer has to beat."
    )
    found += [depth_reason(d), distance_reason(d), score_reason(d)]
    found += [forgetting_reason(d), calibration_reason(d), confident_reason(d)]
    worst = [row for row in d.subgroups if row["column"] == "class"][0]
    found.append(
        f"The class with most errors is {worst['group']!r}: "
        f"{percent(worst['accuracy'])} of {worst['n']} {d.data['inputs']} "
        f"(95 % interval {interval(worst)}), "
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
    said = (
        f"By depth, the pretrained features are best read at {stages[best]} "
        f"({percent(known[best])}; at the last stage {percent(known[-1])}); those of "
        f"random weights at {stages[int(np.argmax(random))]} ({percent(random.max())})."
    )
    if stages[best] != stages[-1] and d.data["inputs"] == "pictures":
        said += (
            " For a head that reads several stages, give `course train` `strategy: "
            "frozen` and `head_reads: stages`."
        )
    return said


def distance_reason(d) -> str:
    """What the distance from the source says."""
    there, inputs = d.source["distance"], d.data["inputs"]
    if there is None:
        said = (
            f"How far these {inputs} are from the source's is not known: its {inputs} "
            "are not at hand."
        )
        if words := d.source["vocabulary"]:
            said += (
                f" By its vocabulary: a word is cut into {words['pieces']:.2f} pieces "
                f"on average, {percent(words['unknown'])} of the pieces are unknown to "
                "it (1 and 0 % where it knows every word)."
            )
        return said
    return (
        f"Distance from the source's {inputs}: proxy A-distance "
        f"{there['a_distance']:.2f} of 2 (two halves of the source: "
        f"{there['a_floor']:.2f}), Frechet {there['frechet']:,.0f} (halves: "
        f"{there['frechet_floor']:,.0f}). A large distance alone says little: what "
        "counts is what the features can tell apart."
    )


SCORES = {  # how a score is written
    "LogME": "LogME {:.2f}",
    "H-score": "H-score {:.2f}",
    "kNN": "5 nearest neighbours {:.1%}",
}


def score_reason(d) -> str:
    """What the transferability scores say; none that is saturated is used."""
    ours, theirs = d.scores["pretrained"], d.scores["random"]
    if ours["LogME"] is None or theirs["LogME"] is None:
        return "The features are constant or not finite: no transferability score."
    saturated = [name for name in SCORES if name in d.scores["saturated"]]
    pairs = [
        f"{said.format(ours[name])} ({said.split()[-1].format(theirs[name])})"
        for name, said in SCORES.items()
        if name not in saturated
    ]
    said = "No score without training tells these weights from random ones."
    if pairs:
        said = f"Scores without training, against random weights: {', '.join(pairs)}."
    if saturated:
        said += (
            f" Saturated, the same for both or at its bound, and not used: "
            f"{', '.join(saturated)}."
        )
    return said


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
            few = f"{ours['examples']} {d.data['inputs']} are too few to see what they "
            few += "follow"
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
    data, plan, inputs = d.data, d.plan, d.data["inputs"]
    own = "the same for all" if data["shared_test"] else "others in each"
    once = " in the first repeat, for want of time," * plan["rates_once"]
    counted = " Words and pieces of words were counted." * ("counts" in d.arms)
    said = [
        f"{data['given']:,} {inputs} of {len(data['classes'])} classes, read "
        f"{data['read']}. Each repeat trained on {data['train']:,} ({budget(d)}), "
        f"chose by {data['validation']:,} and was tested on {data['test']:,}, {own}.",
        f"{plan['repeats']} repeats with other training {inputs} and seeds; every "
        f"training run had {plan['steps']} updates and ended with its last weights. "
        "Learning rates "
        f"{' and '.join(f'{lr:g}' for lr in d.options['rates'])} were tried{once} from "
        f"pretrained and from random weights alike, probes on every stage of both."
        f"{counted} All choices were made on validation {inputs}.",
    ]
    if data["shared_test"] and 2 * data["train"] > data["pool"]:
        said.append(
            f"The interval (95 %) counts the seeds and the test {inputs}; all repeats "
            f"trained on much the same {inputs}, so that it hardly counts their draw."
        )
    elif data["shared_test"]:
        said.append(
            f"The interval (95 %) counts the draw of the training {inputs}, the seeds "
            f"and the test {inputs}."
        )
    else:
        said.append(
            f"The {inputs} are too few for a test part of their own: the repeats share "
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
    values = {
        said: np.array(d.arms[arm]["test"])
        for arm, said in WAYS.items()
        if arm in d.arms
    }
    figure = plots.bars_with_spread(
        values,
        ylabel=f"test {d.metric}",
        title=d.verdict.removesuffix(".").split(". ")[0],
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
        d.subgroups, d.data["inputs"], {"without transfer": "without"}
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
            arm,
            WAYS[arm],
            commonest(one["taken"]),
            percent(np.mean(one["validation"])),
            percent(np.mean(one["test"])),
            ", ".join(f"{100 * value:.1f}" for value in one["test"]),
        )
        for arm, one in d.arms.items()
    ]
    heads = (
        "strategy",
        "way",
        "chosen by validation",
        "validation",
        "test",
        "test by repeat, %",
    )
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
        mark = "saturated, not used" if name in d.scores["saturated"] else ""
        numbers = ("none" if v is None else f"{v:.3f}" for v in pair)
        rows.append((name, *numbers, mark))
    scored = Table(
        "Transferability scores of the last stage, larger is better",
        ("score", "pretrained weights", "random weights", "remark"),
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
    heads = (
        "distance",
        f"these {d.data['inputs']} to the source's",
        "two halves of the source",
    )
    return [Table(f"Distance at {there['stage']}", heads, rows), scored]


def pairs_tables(d) -> list[Table]:
    """Confident errors, source class by answer, where there are any."""
    pairs = d.confident["with"]["pairs"]
    heads = ("source head", "the source sees", "true class", "answer", d.data["inputs"])
    caption = "Commonest confident errors with transfer"
    return [Table(caption, heads, pairs)] if pairs else []


def seconds_line(d) -> list[str]:
    """What it took, where that is known."""
    total = d.seconds.get("total")
    return [f"It took {total:.0f} seconds."] if total else []
