"""The report of a language job: a verdict, the learning curve, answers, one page."""

from collections.abc import Collection

from course_lib import assets
from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table, interval, percent

HOW = {
    "lora": "adapters beside the frozen layers (LoRA)",
    "qlora": "adapters beside layers in 4 bits (QLoRA: NF4, double quantisation)",
    "full": "all weights",
}
LONGEST = 300  # characters of a sample in the page
COLUMNS = ("example", "prompt", "expected", "before", "after")  # of tested prompts


def licence(model: str) -> str:
    """The licence of the source model, as far as it is known here."""
    asset = assets.known().get(model)
    if asset:
        return asset.licence
    return "not stated here; look it up before you pass the model on"


def verdict(result) -> str:
    """What was reached on the test part, before and after."""
    before, after = result.before, result.after
    losses = (
        f"the loss of an answer token went from {before['loss']:.3f} to "
        f"{after['loss']:.3f} nats"
    )
    model = result.config["model"]
    if after["exact"] is None:
        return f"{model}, on {result.data['sizes']['test']:,} test prompts: {losses}."
    return (
        f"{model} answers {percent(after['exact'])} of {len(after['right']):,} test "
        f"prompts exactly (95 % interval {interval(after)}), before training "
        f"{percent(before['exact'])}; {losses}."
    )


def done(result) -> list[str]:
    """What was done, in sentences."""
    config, curve, sizes = result.config, result.curve, result.data["sizes"]
    said = [
        f"{sum(sizes.values()):,} conversations: {sizes['train']:,} to train on, "
        f"{sizes['validation']:,} to choose by, {sizes['test']:,} to test on.",
        f"Trained: {HOW[config['method']]}, {result.plan['trainable']:,} numbers; "
        f"{curve['number']} updates of {config['batch_size']} at a rate of "
        f"{config['rate']:g}; kept are the weights after update {curve['best']}, where "
        f"the validation loss was lowest ({min(curve['validation']):.3f}).",
    ]
    if curve["best"] == curve["number"]:
        said.append(
            "The last evaluation was the best one: more updates, or a higher rate, "
            "might help."
        )
    if result.gain:
        gain = result.gain
        said.append(
            f"Exact answers: {100 * gain['mean']:+.1f} points, 95 % interval "
            f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}. It counts the "
            "draw of the test prompts, not that of the seed and the split."
        )
    return said + list(result.notes)


def text(result, told: Collection[str] = ()) -> str:
    """The report in short, as plain text, without notes that were told before."""
    lines = [result.verdict, ""]
    lines += [f"- {line}" for line in done(result) if line not in told]
    lines += [f"- {line}" for line in result.export.get("said", [])]
    return "\n".join(lines)


def curve_figure(result):
    """(figure, alternative text): losses over the updates."""
    curve = result.curve
    figure, axes = plots.new()
    axes.plot(
        range(1, len(curve["train"]) + 1),
        curve["train"],
        color=plots.COLOURS[6],
        label="training batch",
    )
    axes.plot(
        curve["at"],
        curve["validation"],
        marker="o",
        color=plots.COLOURS[0],
        label="validation",
    )
    axes.set(xlabel="update", ylabel="loss of an answer token, nats", ylim=(0, None))
    axes.set_title(f"The weights after update {curve['best']} are kept")
    axes.legend()
    losses = ", ".join(
        f"{loss:.3f} at update {at}"
        for at, loss in zip(curve["at"], curve["validation"])
    )
    return figure, f"Loss by update on training batches and validation: {losses}."


def samples_table(result) -> Table:
    """Some test prompts, and their answers before and after."""
    some = result.answered()[: result.config["samples"]]
    rows = [[pages.shortened(row[key], LONGEST) for key in COLUMNS] for row in some]
    return Table("Answers to test prompts, the first ones of the part", COLUMNS, rows)


def numbers_table(result) -> Table:
    """Loss and exact answers on the test part."""
    rows = []
    for name, found in (("before", result.before), ("after", result.after)):
        exact = found["exact"]
        rows.append(
            (
                name,
                f"{found['loss']:.3f}",
                "answers are long" if exact is None else percent(exact),
                "" if exact is None else interval(found),
            )
        )
    heads = ("training", "loss, nats a token", "exact answers", "95 % interval")
    return Table("The test part", heads, rows)


def html(result) -> str:
    """One page without external resources; every text from outside is escaped."""
    config = result.config
    settings = [(k, "nothing" if v is None else str(v)) for k, v in config.items()]
    sections = {
        "": [numbers_table(result)],
        "What was done": [done(result)],
        "Training": [Picture(*curve_figure(result))],
        "Answers": [samples_table(result)],
        "The exported model": [result.export.get("said", [])],
        "Configuration": [Table("All settings", ("key", "value"), settings)],
    }
    if not result.export:
        del sections["The exported model"]
    name = result.data["name"]
    better = result.gain["low"] > 0 if result.gain else False
    return pages.report(
        f"Training: {config['model']} on {name}",
        f"{config['model']} trained on {name}",
        [result.verdict],
        sections,
        "helps" if better else "open",
    )


def card(result) -> str:
    """The model card as Markdown; every number is one of ``result``."""
    return pages.render(
        "language_card.md",
        config=result.config,
        data=result.data,
        verdict=result.verdict,
        how=HOW[result.config["method"]],
        done=done(result),
        numbers=numbers_table(result),
        said=result.export.get("said", []),
    )
