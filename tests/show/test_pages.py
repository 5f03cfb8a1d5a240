"""Pages of reports: escaped, in order, with headings and alternative texts."""

import jinja2
import pytest

from course_lib.errors import CourseError
from course_lib.show import pages, plots

BAD = "<script>alert('1')</script> & \"2\""


def page(**sections):
    return pages.report(BAD, BAD, ["Helps.", BAD], sections, kind="helps")


def test_every_text_from_outside_is_escaped():
    table = pages.Table(BAD, (BAD, "n"), [(BAD, BAD)])
    said = page(**{BAD: [BAD, [BAD, BAD], table]})
    assert "<script>" not in said
    assert said.count("&lt;script&gt;alert(&#39;1&#39;)") == 11


def test_pieces_stand_in_their_order_with_their_elements():
    figure, axes = plots.new()
    axes.plot([0, 1], [0, 1])
    said = page(
        First=["A sentence.", ["one", "two"]],
        Second=[pages.Picture(figure, "A line that rises from 0 to 1.")],
        Third=[pages.Table("Counts", ("class", "n"), [("a", 3), ("b", "-1.5"), "cd"])],
    )
    pieces = (
        '<html lang="en">', "<h1>", '<div class="verdict helps"><p><strong>Helps.',
        "<h2>First</h2>", "<p>A sentence.</p>", "<li>one</li>\n<li>two</li>",
        "<h2>Second</h2>", '<img alt="A line that rises from 0 to 1." src="data:',
        "<caption>Counts</caption>", '<th scope="col">class</th>',
        '<th scope="row">a</th><td class="number">3</td>',
        '<td class="number">-1.5</td>', '<th scope="row">c</th><td>d</td>', "</main>",
    )  # fmt: skip
    places = [said.index(piece) for piece in pieces]
    assert places == sorted(places)


def test_what_stands_between_backticks_is_code_and_escaped():
    said = page(First=["Type `course claims C72`.", ["`<b>` & `"]])
    assert "<p>Type <code>course claims C72</code>.</p>" in said
    assert "<li><code>&lt;b&gt;</code> &amp; `</li>" in said


def test_a_section_without_a_heading_has_none():
    assert "<h2>" not in page(**{"": ["Text."]})


def test_a_figure_needs_a_sentence_and_a_template_its_values():
    figure, _ = plots.new()
    with pytest.raises(CourseError, match="too short"):
        page(First=[pages.Picture(figure, "A line")])
    with pytest.raises(jinja2.UndefinedError, match="title"):
        pages.render("report.html")


def test_plain_text_is_not_escaped_and_a_bar_does_not_end_a_cell():
    table = pages.Table("", ("a|b", "n"), [("<i>", 1)])
    rows = pages.render(
        "model_card.md",
        config=dict(model="m", licence="MIT", weights="w", strategy="full"),
        data=dict(
            name="it's", classes=["<i>"], sizes=dict(train=1, validation=2, test=3000)
        ),
        inputs="texts",
        verdict="Good & cheap.",
        counts=table,
        notes=[],
        combined={},
        source_licence="MIT",
        test=dict(
            accuracy=0.5, low=0.25, high=0.75, balanced_accuracy=1, loss=0.1,
            calibration_error=0.05,
        ),
        groups=table,
        limits=["One run."],
        export={"said": []},
    )  # fmt: skip
    assert "Good & cheap.\n" in rows and '"it\'s" into one of 1 classes: <i>.' in rows
    assert "| a\\|b | n |\n| --- | --- |\n| <i> | 1 |\n" in rows
    assert "| 95 % interval | 25.0 % to 75.0 % |" in rows and "3,003 texts" in rows
    assert rows.endswith("`not exported`\n")
