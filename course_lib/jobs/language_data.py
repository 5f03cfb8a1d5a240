"""Conversations from people's files: JSON lines, JSON, or a table, and their parts.

    parts = language_data.read("tickets.jsonl", config)
    parts.train[0].messages, parts.notes

A conversation is a list of messages with a role and a content, the last one an answer.
Every line that cannot be used is named with its number; nothing is left out unsaid.
"""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from course_lib.datasets import delimited, layout, tables
from course_lib.datasets.messages import listed, shown
from course_lib.errors import CourseError

PROMPT = ("prompt", "instruction", "question", "input", "query", "text")
ANSWER = ("answer", "completion", "response", "output", "target", "reply")
ROLES = ("system", "user", "assistant")
PARTS = ("train", "validation", "test")
TABLES = (".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".parquet")
JSON = (".jsonl", ".ndjson", ".json")
LEAST = 10  # conversations that can be split


@dataclass(frozen=True)
class Conversation:
    """messages: ((role, content), ...), the last one an answer; where it stood."""

    messages: tuple[tuple[str, str], ...]
    where: str

    @property
    def prompt(self) -> tuple[tuple[str, str], ...]:
        """All but the last answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.messages[-1][1]

    @property
    def asked(self) -> str:
        """The last message before the answer, for people."""
        return self.messages[-2][1]


@dataclass
class LanguageParts:
    """Conversations to train on, to choose by and to test on.

    notes: sentences for the reader.  key: sha256 of all conversations and parts.
    """

    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]
    name: str
    notes: list[str] = field(default_factory=list)

    def named(self) -> dict[str, list[Conversation]]:
        """{part: its conversations}."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def key(self) -> str:
        parts = {k: [c.messages for c in some] for k, some in self.named().items()}
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# -- files ------------------------------------------------------------------------


def read(path: str | Path, config) -> LanguageParts:
    """The parts of a file, which are drawn, or of a folder with a file for each.

    config: a LanguageConfig, of which split, seed, skip_bad, prompt_column,
    answer_column, sheet and encoding count.  Files of a folder are recognised by their
    names (train.jsonl, val.csv ...); what is missing is drawn from the training file.
    Raises CourseError that names every line that cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(
            f"The data {path} do not exist.\nExpected: JSON lines, a JSON list, a "
            "table with prompts and answers, or a folder of such files.\n"
            "Do: check the path."
        )
    notes: list[str] = []
    given: dict[str, list[Conversation]] = {}
    files = _files(path, notes) if path.is_dir() else [("train", path)]
    for part, file in files:
        several = len(files) > 1
        given.setdefault(part, []).extend(_file(file, config, notes, several))
    parts = _parted(given, config, notes)
    notes += _repeated(parts)
    return LanguageParts(*(parts[name] for name in PARTS), path.name, notes)


def one_prompt(text: str) -> Conversation:
    """A conversation that waits for its first answer.  CourseError for an empty one."""
    if problem := _content(text):
        raise CourseError(
            f"The prompt {problem}.\nExpected: a text.\nDo: write what is asked."
        )
    return Conversation((("user", text), ("assistant", "")), "prompt 1")


def prompts(path: str | Path, config) -> tuple[list[Conversation], list[str]]:
    """(conversations that wait for an answer, sentences for the reader).

    The same files as for `read`, and .txt with a prompt a line; answers that are there
    already are left away.  Raises CourseError as `read` does.
    """
    path, notes = Path(path), []
    if not path.is_file():
        raise CourseError(
            f"{path} is no file.\nExpected: JSON lines, a JSON list, a table with "
            "prompts, or a .txt file with a prompt a line.\nDo: check the path."
        )
    if path.suffix.lower() == ".txt":
        lines = delimited.split_lines(_text(path, config, notes))
        found = [
            Conversation((("user", line), ("assistant", "")), f"line {i}")
            for i, line in enumerate(lines, 1)
            if line.strip()
        ]
        if not found:
            raise _empty(path)
        return found, notes
    return _file(path, config, notes, False, answers=False), notes


def _files(folder: Path, notes) -> list[tuple[str, Path]]:
    """(part, file) of a folder; files of no part are named."""
    found, others = [], []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.is_dir():
            others += [file.name] if file.is_dir() else []
            continue
        part = layout.part_of(file.stem)[0]
        if part and file.suffix.lower() in (*JSON, *TABLES):
            found.append((part, file))
        else:
            others.append(file.name)
    if not any(part == "train" for part, _ in found):
        raise CourseError(
            f"{folder} holds no file to train on; its files are "
            f"{listed([file.name for file in sorted(folder.iterdir())]) or 'none'}.\n"
            "Expected: train.jsonl, and validation.jsonl and test.jsonl if there are "
            "such parts.\nDo: name the files so, or name one file instead."
        )
    if others:
        notes.append(f"Not read in {folder.name}: {listed(map(shown, others))}.")
    return found


def _text(path: Path, config, notes) -> str:
    text, said = delimited.decoded(
        path.read_bytes(), path, config.encoding, lambda key, value: f"{key}: {value}"
    )
    notes += said
    return text


def _empty(path) -> CourseError:
    return CourseError(
        f"{path} is empty.\nExpected: a conversation a line, such as "
        '{"prompt": "...", "answer": "..."}.\nDo: check how the file was written.'
    )


def _file(path, config, notes, several, answers=True) -> list[Conversation]:
    """All conversations of a file; CourseError that lists every line without one."""
    if path.suffix.lower() in TABLES:
        records, wrong = _table(path, config, notes, answers), []
    else:
        records, wrong = _json(path, config, notes)
    found, used, passed = [], set(), Counter()
    for where, record in records:
        problem, messages, keys = _conversation(record, config, answers)
        if problem:
            wrong.append((where, problem))
            continue
        used |= keys
        passed.update(set(record) - keys)
        name = f"{path.name}, {where}" if several else where
        found.append(Conversation(messages, name))
    if wrong and not (config.skip_bad and found):
        raise CourseError(
            f"{path}: {len(wrong)} of {len(found) + len(wrong)} entries cannot be used."
            f"\n{_grouped(wrong)}\nExpected: on each line "
            '{"prompt": "...", "answer": "..."}, or {"messages": [{"role": "user", '
            '"content": "..."}, {"role": "assistant", "content": "..."}]}.\n'
            "Do: correct these, or leave them out with skip_bad: true."
        )
    if wrong:
        said = _grouped(wrong).replace("\n", " ")
        notes.append(f"Left out of {path.name}, {len(wrong)} entries: {said}")
    renamed = used - {"messages", "prompt", "answer", "system"}
    if renamed:
        notes.append(f"Read in {path.name}: {', '.join(sorted(map(repr, renamed)))}.")
    if passed:
        said = listed([f"{key!r} ({n})" for key, n in passed.most_common()])
        notes.append(f"Keys of {path.name} that are not used: {said}.")
    return found


def _grouped(wrong) -> str:
    """Every entry by what is wrong with it: "no answer: lines 3, 7-9"."""
    by_problem = defaultdict(list)
    for where, problem in wrong:
        kind, _, number = where.rpartition(" ")
        by_problem[problem].append((kind, int(number)))
    return "\n".join(
        f"- {problem}: {_ranges(places)}" for problem, places in by_problem.items()
    )


def _ranges(places: list[tuple[str, int]]) -> str:
    """All numbers, neighbours joined: line 3, line 7-9."""
    runs: list[list[int]] = []
    for _, number in sorted(places):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    joined = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
    return f"{places[0][0]}{'s' * (len(places) > 1)} {joined}"


def _table(path, config, notes, answers) -> list[tuple[str, dict]]:
    """(row, {prompt, answer}) of a table, read as for other jobs."""
    reading = tables.Reading(
        encoding=config.encoding,
        sheet=config.sheet,
        skip_empty=config.skip_bad,
        option=lambda key, value: (
            f"{ {'skip_empty': 'skip_bad'}.get(key, key) }: {value.lower()}"
            if value == "True"
            else f"{key}: {value}"
        ),
    )
    wanted = [config.prompt_column] if config.prompt_column else list(PROMPT)
    wanted += [config.answer_column] if config.answer_column else list(ANSWER)
    table = tables.read(path, wanted, reading)
    asked = table.column("prompt_column", config.prompt_column, PROMPT)
    columns = [asked]
    if answers:
        columns.append(table.column("answer_column", config.answer_column, ANSWER))
    table = table.complete(columns)
    notes += table.notes
    values = [table[name] for name in columns]
    rows = [dict(zip(("prompt", "answer"), row)) for row in zip(*values)]
    return list(zip(table.names(), rows))


def _json(path, config, notes):
    """([(line, value)], [(line, what is wrong)]) of JSON lines or of one JSON list."""
    text = _text(path, config, notes)
    if not text.strip():
        raise _empty(path)
    records, wrong = [], []
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise CourseError(
                f"{path} is no JSON ({error}).\nExpected: one list of objects, or an "
                "object a line.\nDo: write it again; a list needs its closing ]."
            ) from None
        return [(f"entry {i}", value) for i, value in enumerate(values, 1)], []
    for number, line in enumerate(delimited.split_lines(text), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique)
            records.append((f"line {number}", value))
        except RecursionError:
            wrong.append((f"line {number}", "no JSON (nested too deeply)"))
        except ValueError as error:
            reason = getattr(error, "msg", str(error))
            wrong.append((f"line {number}", f"no JSON ({reason})"))
    if not records:
        first = shown(next(line for line in text.splitlines() if line.strip())[:60])
        raise CourseError(
            f"{path} holds no JSON; it begins with {first!r}.\nExpected: an object a "
            "line, a list of objects, or a table whose name ends in "
            f"{', '.join(TABLES)}.\nDo: write the conversations so."
        )
    return records, wrong


def _unique(pairs):
    """An object; ValueError where a key stands twice, of which Python keeps one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


# -- one conversation -------------------------------------------------------------


def _conversation(record, config, answers):
    """(what is wrong or "", messages, keys that were used) of one entry."""
    if not isinstance(record, dict):
        return f"no object but {_kind(record)}", (), set()
    keyed = config.prompt_column or config.answer_column
    if "messages" in record and not keyed:
        problem, messages = _messages(record["messages"], answers)
        return problem, messages, {"messages"}
    asked = _key(record, config.prompt_column, PROMPT)
    answered = _key(record, config.answer_column, ANSWER)
    missing = [
        name
        for name, keys in (("prompt", asked), ("answer", answered))
        if not keys and (name == "prompt" or answers)
    ]
    if missing:
        there = ", ".join(map(repr, record)) or "none"
        return f"no {' and no '.join(missing)}; its keys are {there}", (), set()
    for keys, name in ((asked, "prompt_column"), (answered, "answer_column")):
        if len(keys) > 1:
            both = " and ".join(map(repr, keys))
            return f"{both} are both there: name one with {name}", (), set()
    said = [("user", record[asked[0]])]
    if "system" in record:
        said.insert(0, ("system", record["system"]))
    said.append(("assistant", record[answered[0]] if answered and answers else ""))
    for role, content in said if answers else said[:-1]:
        if problem := _content(content):
            word = {"user": "prompt", "assistant": "answer"}.get(role, role)
            return f"the {word} {problem}", (), set()
    return "", tuple(said), {*asked, *answered, "system"} & set(record)


def _key(record, given, usual) -> list[str]:
    """The key that was named; else the first usual name alone, or all others."""
    if given:
        return [given] if given in record else []
    found = [name for name in usual if name in record]
    return found[:1] if found[:1] == [usual[0]] else found


def _messages(said, answers):
    """(what is wrong or "", ((role, content), ...)) of a list of messages."""
    if not isinstance(said, list) or not said:
        return f"messages is {_kind(said)}, no list of messages", ()
    found = []
    for number, one in enumerate(said, 1):
        if not isinstance(one, dict) or not {"role", "content"} <= set(one):
            return f"message {number} has no role and content", ()
        if one["role"] not in ROLES:
            return f"message {number} has the role {one['role']!r}", ()
        if problem := _content(one["content"]):
            return f"message {number} {problem}", ()
        found.append((one["role"], one["content"]))
    talk = found[1:] if found[0][0] == "system" else found
    for number, (role, _) in enumerate(talk):
        if role != ("user", "assistant")[number % 2]:
            return "user and assistant do not take turns, the user first", ()
    if not talk or (answers and talk[-1][0] != "assistant"):
        return "the last message is no answer of the assistant", ()
    if not answers:
        asked = found[:-1] if talk[-1][0] == "assistant" else found
        found = [*asked, ("assistant", "")]
    return "", tuple(found)


def _content(value) -> str:
    """What is wrong with a text, or ""."""
    if not isinstance(value, str):
        return f"is {_kind(value)}, no text"
    if not value.strip(tables.HIDDEN):
        return "is empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds half of a character (a lone surrogate)"
    return ""


def _kind(value) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false",
             type(None): "null"}  # fmt: skip
    return names.get(type(value), "a number")


# -- parts ------------------------------------------------------------------------


def _parted(given, config, notes) -> dict[str, list[Conversation]]:
    """{part: conversations}; parts that are missing are drawn from the training part.

    Conversations with the same prompt are drawn together.
    """
    missing = [i for i, part in enumerate(PARTS) if i and part not in given]
    if not missing:
        return given
    pool = given["train"]
    if len(pool) < LEAST:
        raise CourseError(
            f"There are {len(pool)} conversations, too few to split.\nExpected: "
            f"{LEAST} or more, or a folder with train, validation and test files.\n"
            "Do: add some."
        )
    groups = defaultdict(list)
    for row, one in enumerate(pool):
        groups[_plain(one.prompt)].append(row)
    rows, taken = list(groups.values()), {}
    order = list(np.random.default_rng(config.seed).permutation(len(rows)))
    for i in missing:
        wanted = max(1, round(config.split[i] * len(pool)))
        taken[PARTS[i]] = some = []
        while order and len(some) < wanted:
            some += rows[order.pop()]
    left = sorted(row for i in order for row in rows[i])
    if not left:
        raise CourseError(
            "After the draw of validation and test nothing is left to train on: most "
            "conversations have the same prompt.\nExpected: different prompts.\n"
            "Do: give train, validation and test files in a folder."
        )
    shares = ", ".join(f"{config.split[i]:.0%} {PARTS[i]}" for i in missing)
    notes.append(
        f"Drawn with seed {config.seed} from {len(pool):,} conversations, those with "
        f"the same prompt together: {shares}."
    )
    drawn = {part: [pool[row] for row in sorted(some)] for part, some in taken.items()}
    return given | drawn | {"train": [pool[row] for row in left]}


def _plain(prompt) -> str:
    """A prompt without case and spacing, to find those that are the same."""
    return "\n".join(" ".join(content.split()).casefold() for _, content in prompt)


def _repeated(parts) -> list[str]:
    """Sentences on prompts that stand in two parts, or with two answers."""
    said, asked = [], {}
    for part, some in parts.items():
        for one in some:
            asked.setdefault(_plain(one.prompt), []).append((part, one))
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = [rows for rows in asked.values() if {a, b} <= {part for part, _ in rows}]
        if both:
            places = [one.where for rows in both for part, one in rows if part == b]
            said.append(
                f"{len(both)} prompts of the {a} part stand in the {b} part too "
                f"({listed(places)}): what is measured there is too good."
            )
    again = [rows for rows in asked.values() if len(rows) > 1]
    if again:
        other = sum(len({one.answer for _, one in rows}) > 1 for rows in again)
        said.append(
            f"{len(again)} prompts stand there more than once, {other} of them with "
            "different answers."
        )
    return said
