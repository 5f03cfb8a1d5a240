"""Conversations as people have them: what is read, and what is told of the rest."""

import json

import pytest
import tiny

from course_lib.errors import CourseError
from course_lib.jobs import (
    configuration,
    language_configuration,
    language_data,
    language_tokens,
)


def config(**values):
    return language_configuration.from_dict(values)


def pairs(n, first=0):
    return [
        {"prompt": f"Ticket {i}?", "answer": f"Lot: A{i}"}
        for i in range(first, first + n)
    ]


def jsonl(path, records):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def talk(*contents, roles=("user", "assistant")):
    return {
        "messages": [
            {"role": roles[i % 2], "content": text} for i, text in enumerate(contents)
        ]
    }


# -- what is read -----------------------------------------------------------------


def test_pairs_and_messages_stand_in_one_file(tmp_path):
    told = {"messages": [{"role": "system", "content": "Be short."},
                         *talk("a", "b", "c", "d")["messages"]]}  # fmt: skip
    parts = language_data.read(
        jsonl(tmp_path / "a.jsonl", [*pairs(11), told]), config()
    )
    every = [one for some in parts.named().values() for one in some]
    assert len(every) == 12
    (long,) = (one for one in every if len(one.messages) == 5)
    assert long.messages[0] == ("system", "Be short.")
    assert (long.asked, long.answer, long.where) == ("c", "d", "line 12")


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl"])
def test_other_endings_hold_the_same(name, tmp_path):
    path = tmp_path / name
    if name.endswith(".csv"):
        rows = [f'"{r["prompt"]}","{r["answer"]}"' for r in pairs(12)]
        path.write_text("\n".join(["question,answer", *rows]) + "\n")
    elif name.endswith(".json"):
        path.write_text(json.dumps(pairs(12), indent=2))
    else:
        jsonl(path, pairs(12))
    parts = language_data.read(path, config())
    wanted = {(r["prompt"], r["answer"]) for r in pairs(12)}
    every = [one for some in parts.named().values() for one in some]
    assert {(one.asked, one.answer) for one in every} == wanted


def test_a_folder_has_its_parts_and_what_is_missing_is_drawn(tmp_path):
    jsonl(tmp_path / "train.jsonl", pairs(40))
    jsonl(tmp_path / "test-00001.jsonl", pairs(5, first=100))
    (tmp_path / "README.md").write_text("notes")
    parts = language_data.read(tmp_path, config(split=[0.6, 0.25, 0.15]))
    sizes = {name: len(some) for name, some in parts.named().items()}
    assert sizes == {"train": 30, "validation": 10, "test": 5}
    assert any("Not read" in note and "README.md" in note for note in parts.notes)
    assert parts.test[0].where == "test-00001.jsonl, line 1"


def test_the_draw_is_repeated_and_keeps_equal_prompts_together(tmp_path):
    records = [dict(one, answer=f"{k}") for one in pairs(20) for k in range(3)]
    path = jsonl(tmp_path / "a.jsonl", records)
    first, again = (language_data.read(path, config(seed=3)) for _ in range(2))
    assert first.key == again.key != language_data.read(path, config(seed=4)).key
    asked = [{one.asked for one in some} for some in first.named().values()]
    assert (
        not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2]
    )
    assert any("20 of them with different answers" in note for note in first.notes)


def test_prompts_in_two_given_parts_are_told(tmp_path):
    jsonl(tmp_path / "train.jsonl", pairs(12))
    jsonl(tmp_path / "valid.jsonl", pairs(3, first=50))
    again = [{"prompt": " TICKET  4? ", "answer": "x"}, *pairs(2, first=90)]
    jsonl(tmp_path / "test.jsonl", again)
    notes = language_data.read(tmp_path, config()).notes
    assert any("1 prompts of the train part stand in the test part" in n for n in notes)


# -- what is wrong ----------------------------------------------------------------

BAD = {
    '{"prompt": "a"': "no JSON",
    '["a", "b"]': "no object but a list",
    '{"prompt": "a"}': "no answer; its keys are 'prompt'",
    '{"answer": "a"}': "no prompt",
    '{"prompt": "a", "answer": ""}': "the answer is empty",
    '{"prompt": "\\u00a0 ", "answer": "b"}': "the prompt is empty",
    '{"prompt": "a", "answer": 5}': "the answer is a number",
    '{"prompt": "a", "answer": null}': "the answer is null",
    '{"prompt": "a", "answer": "b", "prompt": "c"}': "stands twice",
    '{"prompt": "a", "answer": "\\ud800"}': "lone surrogate",
    '{"instruction": "a", "input": "x", "output": "b"}': "both there",
    '{"messages": []}': "no list of messages",
    '{"messages": "a"}': "a text, no list of messages",
    '{"messages": [{"role": "user"}]}': "message 1 has no role and content",
    '{"messages": [{"role": "human", "content": "a"}]}': "the role 'human'",
    json.dumps(talk("a")): "the last message is no answer",
    json.dumps(talk("a", "b", roles=("assistant", "user"))): "do not take turns",
    json.dumps(talk("a", "b", "c")): "the last message is no answer",
    json.dumps(talk("a", ["b"])): "message 2 is a list",
}


@pytest.mark.parametrize("line", BAD)
def test_every_bad_line_is_told_with_its_number(line, tmp_path):
    records = [*pairs(3), line, *pairs(8, first=3), line]
    path = jsonl(tmp_path / "a.jsonl", records)
    with pytest.raises(CourseError, match="2 of 13 entries cannot be used") as raised:
        language_data.read(path, config())
    assert "lines 4, 13" in str(raised.value) and BAD[line] in str(raised.value)
    assert "Do: " in str(raised.value)
    parts = language_data.read(path, config(skip_bad=True))
    assert sum(map(len, parts.named().values())) == 11
    assert any("Left out of a.jsonl, 2 entries" in note for note in parts.notes)


def test_many_bad_lines_are_all_told(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*pairs(2), *["{"] * 300, *pairs(2), "[]"])
    with pytest.raises(CourseError) as raised:
        language_data.read(path, config())
    assert "301 of 305" in str(raised.value)
    assert "lines 3-302" in str(raised.value) and "line 305" in str(raised.value)


FILES = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "prose": (b"Dear colleagues,\nplease find attached\n", "holds no JSON"),
    "open list": (b'[{"prompt": "a", "answer": "b"},', "is no JSON"),
    "few": (b'{"prompt": "a", "answer": "b"}\n' * 3, "too few to split"),
    "zero": (b'{"prompt": "a\0", "answer": "b"}\n', "NUL"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_conversations(name, tmp_path):
    content, said = FILES[name]
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=said) as raised:
        language_data.read(path, config())
    assert "Expected: " in str(raised.value) and "Do: " in str(raised.value)


def test_other_encodings_are_read_and_told(tmp_path):
    lines = "\n".join(
        json.dumps({"prompt": f"Grüße {i}", "answer": "schön"}, ensure_ascii=False)
        for i in range(12)
    )
    for encoding, told in (("utf-8-sig", False), ("utf-16", False), ("cp1252", True)):
        path = tmp_path / f"{encoding}.jsonl"
        path.write_bytes(lines.encode(encoding))
        parts = language_data.read(path, config())
        assert parts.train[0].answer == "schön"
        assert any("cp1252" in note for note in parts.notes) == told


def test_no_such_data_and_no_training_file(tmp_path):
    with pytest.raises(CourseError, match="do not exist"):
        language_data.read(tmp_path / "a.jsonl", config())
    jsonl(tmp_path / "notes.jsonl", pairs(3))
    with pytest.raises(CourseError, match="no file to train on.*notes.jsonl"):
        language_data.read(tmp_path, config())


def test_rows_of_a_table_without_an_answer_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,answer\na,b\nc,\n" + "d,e\n" * 12)
    with pytest.raises(CourseError, match="(?s)row 3.*skip_bad: true") as raised:
        language_data.read(path, config())
    assert "skip_empty" not in str(raised.value)


def test_prompts_may_stand_alone_and_answers_are_left_away(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": "a"}, talk("b"), talk("c", "d")])
    asked, _ = language_data.prompts(path, config())
    assert [(one.asked, one.answer) for one in asked] == [
        ("a", ""),
        ("b", ""),
        ("c", ""),
    ]
    text = tmp_path / "a.txt"
    text.write_text("one\n\ntwo\n")
    assert [one.where for one in language_data.prompts(text, config())[0]] == [
        "line 1",
        "line 3",
    ]


# -- tokens -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.word_pieces()


def made(tmp_path, tokenizer, records, **values):
    path = jsonl(tmp_path / "a.jsonl", records)
    settings = config(**values)
    parts = language_data.read(path, settings)
    return language_tokens.tokenised(parts, tokenizer, settings, positions=512)


def test_answers_with_their_end_are_learned_and_nothing_else(tmp_path, tokenizer):
    records = [talk(f"Lot {i}?", f"A{i}", "And?", "done") for i in range(12)]
    tokens = made(tmp_path, tokenizer, records)
    (row, *_), (one, *_) = tokens.rows["train"], tokens.kept["train"]
    learned = [t for t, label in zip(row["input_ids"], row["labels"]) if label >= 0]
    text = tokenizer.decode(learned).replace(" ", "")
    assert text == f"{one.messages[1][1]}<eos>done<eos>"
    assert all(a == b for a, b in zip(row["input_ids"], row["labels"]) if b >= 0)
    assert tokenizer.decode(row["input_ids"][: row["start"]]).endswith("Assistant: ")


def test_too_long_conversations_are_named_left_out_or_cut(tmp_path, tokenizer):
    records = [*pairs(14), {"prompt": "x", "answer": "word " * 60}]
    with pytest.raises(
        CourseError, match=r"(?s)1 of 15.*line 15 .*too_long: leave_out"
    ):
        made(tmp_path, tokenizer, records, max_length=40)
    tokens = made(tmp_path, tokenizer, records, max_length=40, too_long="leave_out")
    assert sum(map(len, tokens.rows.values())) == 14
    assert "Left out" in " ".join(tokens.notes)
    tokens = made(tmp_path, tokenizer, records, max_length=40, too_long="cut")
    rows = [row for some in tokens.rows.values() for row in some]
    assert len(rows) == 15 and max(len(row["labels"]) for row in rows) == 40


def test_the_tokenizers_own_signs_are_refused(tmp_path, tokenizer):
    records = [*pairs(12), {"prompt": "a <eos> b", "answer": "c"}]
    with pytest.raises(CourseError, match=r"signs of the tokenizer.*line 13"):
        made(tmp_path, tokenizer, records)


# -- the configuration ------------------------------------------------------------


def test_the_example_is_the_default():
    import yaml

    values = yaml.safe_load(language_configuration.example())
    assert language_configuration.from_dict(values).to_dict() == config().to_dict()
    schema = configuration.schema(language_configuration.LanguageConfig)
    assert set(schema["properties"]) == set(values)


@pytest.mark.parametrize(
    "values, said",
    [
        ({"method": "loar"}, "write method: lora"),
        ({"metod": "lora"}, "'method'"),
        ({"method": "full", "rank": 4}, "no adapters"),
        ({"updates": 3, "epochs": 2}, "remove one"),
        ({"gguf": "f16", "merged": False}, "merged: true"),
        ({"minutes": 0}, "a number above 0"),
        ({"split": [0.5, 0.5]}, "three shares"),
    ],
)
def test_wrong_settings_are_told(values, said):
    with pytest.raises(CourseError, match=said):
        config(**values)
