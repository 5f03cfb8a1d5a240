"""Text to pre-train a small language model on: the fab's and the world's, generated.

A document follows one of the plots below: each step is one of several sentences, and a
name, lot or tool stays the same throughout the document, so that there is something to
remember.  About a quarter of the documents are raw tickets.  No document is in the
form of a report (course_lib.datasets.reports): that is left to fine-tuning.
"""

import re

import numpy as np

from course_lib.datasets import tickets

SEED = 20_260_110
SHARE_TICKETS = 0.25
SHARE_GLOSSARY = 0.06
SHARE_LISTS = 0.10
SHARE_ECHOES = 0.20

WORDS = {
    "tool": tickets.TOOLS,
    "step": tickets.STEPS,
    "place": tuple(p for p in tickets.PLACES if "{" not in p),
    "defect": tickets.CLASSES,
    "woman": ("Anna", "Mei", "Laura", "Priya", "Olga", "Sarah", "Noor", "Emma"),
    "man": ("Tom", "Ravi", "Peter", "Carlos", "Jonas", "Ken", "Omar", "Paul"),
    "role": ("engineer", "operator", "technician", "shift leader", "trainee"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "time": ("in the morning", "at noon", "in the evening", "before lunch", "at night"),
    "town": ("the harbour", "the village", "the old town", "the city", "the valley"),
    "room": ("kitchen", "garden", "office", "hall", "workshop", "library"),
    "animal": ("dog", "cat", "horse", "crow", "fox", "goat", "duck", "owl"),
    "food": ("soup", "bread", "rice", "a salad", "an omelette", "fish", "a pie"),
    "vegetable": ("carrots", "onions", "beans", "potatoes", "tomatoes", "leeks"),
    "drink": ("tea", "coffee", "water", "milk", "apple juice"),
    "weather": ("rain", "snow", "fog", "wind", "sunshine", "thunder", "hail"),
    "mood": ("happy", "tired", "proud", "surprised", "quiet", "curious", "pleased"),
    "colour": ("red", "blue", "green", "white", "black", "yellow", "grey", "brown"),
    "thing": ("lamp", "chair", "bicycle", "clock", "radio", "table", "boat", "box"),
    "metal": ("copper", "aluminium", "tungsten", "titanium", "cobalt"),
    "gas": ("argon", "nitrogen", "oxygen", "helium"),
    "season": ("spring", "summer", "autumn", "winter"),
    "book": ("a book about the sea", "a letter", "the newspaper", "a long story"),
    "sign": ("slowly", "carefully", "at once", "twice", "without a word", "again"),
    "cause": ("a worn pad", "a leaking valve", "a wrong recipe", "an old filter"),
    "repair": ("replaced", "cleaned", "adjusted", "calibrated", "tightened"),
    "part": ("pump", "valve", "filter", "sensor", "robot arm", "chuck", "nozzle"),
}

FAB = (
    (  # a lot goes through the line
        (
            "Lot {lot} arrived at {tool} {time}.",
            "{time} lot {lot} was loaded into {tool}.",
            "The operator brought lot {lot} to {tool} on {day}.",
        ),
        (
            "It holds {n} wafers with {metal} lines.",
            "{n} wafers of the lot need {step}.",
            "The lot has {n} wafers and a high priority.",
        ),
        (
            "The first wafer was measured before {step}.",
            "After {step} every wafer was inspected.",
            "The recipe for {step} ran without an alarm.",
        ),
        (
            "Wafer {k} of lot {lot} shows a {defect} {place}.",
            "No {defect} was seen on lot {lot}.",
            "The inspection found a {defect} on wafer {k}.",
        ),
        (
            "Lot {lot} was put on hold and the shift leader was informed.",
            "Lot {lot} left {tool} and went on to {step2}.",
            "The {role} released lot {lot} {time2}.",
        ),
    ),
    (  # a tool fails and is repaired
        (
            "{tool} stopped on {day} {time}.",
            "There was an alarm on {tool} {time}.",
            "{tool} has been down since {day}.",
        ),
        (
            "The {role} checked the {part} first.",
            "The log of {tool} names the {part}.",
            "The {part} was too warm.",
        ),
        (
            "The reason was {cause}.",
            "It turned out that {cause} had caused the alarm.",
            "Behind it stood {cause}.",
        ),
        (
            "The {part} of {tool} was {repair} and tested.",
            "We {repair} the {part} and flushed the chamber with {gas}.",
            "Maintenance {repair} the {part} in {n} minutes.",
        ),
        (
            "{tool} is running again since {day2}.",
            "A test wafer showed no {defect}.",
            "Since then {tool} has made no {defect}.",
        ),
    ),
    (  # what a step does
        (
            "In {step} the wafer meets a {part} and a flow of {gas}.",
            "The aim of {step} is a clean and even layer of {metal}.",
            "{step} comes before {step2}.",
        ),
        (
            "If the {part} is dirty, the wafer gets a {defect}.",
            "A {defect} after {step} is often the work of {cause}.",
            "Too little {gas} leads to a {defect} {place}.",
        ),
        (
            "Therefore the {part} is {repair} every {n} days.",
            "Good fabs check {tool} every {day}.",
            "The {role} looks at the {part} before each lot.",
        ),
        (
            "A {defect} cannot be repaired by {step2}.",
            "Most chips with a {defect} fail the last test.",
            "A small {defect} {place} does no harm.",
        ),
    ),
    (  # a note of the shift
        (
            "Notes of the shift on {day}.",
            "Handover on {day} {time}.",
            "This is what happened on {day}.",
        ),
        (
            "{tool} made {n} wafers, {tool2} made {k}.",
            "{woman} watched {tool}, {man} watched {tool2}.",
            "Only {tool2} was down, for {n} minutes.",
        ),
        (
            "Lot {lot} waits for {step}.",
            "Lot {lot} is on hold because of a {defect}.",
            "Lot {lot} was scrapped.",
        ),
        (
            "Please look after lot {lot} first.",
            "Please do not start lot {lot} before {day2}.",
            "{man} knows more about lot {lot}.",
        ),
        ("Have a good shift.", "That was all.", "The {part} of {tool} is still noisy."),
    ),
    (  # a talk between two
        (
            "{woman} asked {man} about lot {lot}.",
            "{man} and {woman} talked about lot {lot}.",
            "{woman} called {man} because of lot {lot}.",
        ),
        (
            '"Is it a {defect}?" she asked.',
            '"What did you see {place}?" she asked.',
            '"Where does it come from?" she asked.',
        ),
        (
            '"It looks like a {defect}," he said.',
            '"I think that {cause} did it," he said.',
            '"I saw it after {step}, on wafer {k}," he said.',
        ),
        (
            '"Then we should stop {tool}," said {woman}.',
            '"Hold lot {lot} until {day}," said {woman}.',
            '"Let us look at it again," said {woman}.',
        ),
        (
            "{man} agreed and went to {tool}.",
            "So they stopped {tool} and called the {role}.",
            "In the end lot {lot} was fine.",
        ),
    ),
)

GENERAL = (
    (  # a woman's day
        (
            "{woman} got up early on {day}.",
            "It was {day} and {woman} had time.",
            "On {day} {woman} stayed in the {room}.",
        ),
        (
            "She drank {drink} and read {book}.",
            "She made {food} with {vegetable}.",
            "She looked for her {colour} {thing}.",
        ),
        (
            "Then {woman} went to {town} with her {animal}.",
            "Then she wrote a letter to {man}.",
            "Later she met {man} in the {room}.",
        ),
        (
            "There was {weather} {time}.",
            "The {weather} did not disturb her.",
            "She carried the {thing} home {sign}.",
        ),
        (
            "In the evening {woman} was {mood}.",
            "At the end of the day she was {mood} and went to bed.",
            "{woman} will remember that {day}.",
        ),
    ),
    (  # a man builds something
        (
            "{man} wanted to build a {thing}.",
            "{man} found an old {thing} in the {room}.",
            "The {thing} of {man} was broken.",
        ),
        (
            "He took {n} screws and a piece of wood.",
            "He painted the {thing} {colour}.",
            "He asked {woman} for help.",
        ),
        (
            "He worked {sign} and drank {drink}.",
            "It took him {n} days.",
            "The {animal} of {woman} watched him.",
        ),
        (
            "Now the {colour} {thing} stands in the {room}.",
            "In {season} the {thing} was ready.",
            "He gave the {thing} to {woman}.",
        ),
        (
            "{woman} was {mood} when she saw the {thing}.",
            "{man} was {mood}.",
            "Everybody liked the {thing}.",
        ),
    ),
    (  # cooking
        (
            "To cook {food} you need {vegetable} and {drink}.",
            "{woman} shows how to make {food}.",
            "This is how {food} is made in {town}.",
        ),
        (
            "First wash the {vegetable} and cut them into pieces.",
            "First boil {n} glasses of water.",
            "First take {n} {vegetable} from the {room}.",
        ),
        (
            "Then stir {sign} and add some salt.",
            "Then wait for {n} minutes.",
            "Then add the {vegetable} {sign}.",
        ),
        (
            "Serve it with {drink}.",
            "It tastes best in {season}.",
            "{man} likes it with {vegetable2}.",
        ),
    ),
    (  # weather and seasons
        (
            "In {season} there is often {weather} over {town}.",
            "The {weather} came {time}.",
            "On {day} there was {weather} in {town}.",
        ),
        (
            "The sky was {colour} and the streets were empty.",
            "Nobody had expected the {weather}.",
            "The people in {town} are used to {weather}.",
        ),
        (
            "A {colour2} {animal} sat under a {thing}.",
            "{woman} closed the windows of the {room}.",
            "The {animal} ran into the {room}.",
        ),
        (
            "After {n} hours the {weather} was over.",
            "On {day2} the sun came back.",
            "In the end there was only {weather2}.",
        ),
    ),
    (  # an animal
        (
            "The {animal} of {man} is {colour}.",
            "{man} has a {colour} {animal}.",
            "A {colour} {animal} lives near {town}.",
        ),
        (
            "It sleeps in the {room} and wakes up {time}.",
            "It likes {vegetable} more than {food}.",
            "It is afraid of {weather}.",
        ),
        (
            "One {day} the {animal} was gone.",
            "Last {season} the {animal} ran away.",
            "On {day} it came home with a {animal2}.",
        ),
        (
            "{man} looked for it in {town}.",
            "{woman} found it behind the {thing}.",
            "The children called it {sign}.",
        ),
        (
            "Now the {animal} is {mood} again.",
            "Since then the door of the {room} is closed.",
            "{man} gave it some {drink}.",
        ),
    ),
    (  # a journey
        (
            "{man} and {woman} travelled to {town} in {season}.",
            "In {season} a train goes to {town} every {day}.",
            "The way to {town} takes {n} hours.",
        ),
        (
            "They took {food} and {drink} with them.",
            "The train was {colour} and very slow.",
            "They saw a {animal} from the window.",
        ),
        (
            "In {town} there was {weather}.",
            "There they bought a {colour2} {thing}.",
            "They stayed for {n} days.",
        ),
        (
            "They came back on {day}, {mood}.",
            "{woman} wrote about it in {book}.",
            "{man} wants to go there again.",
        ),
    ),
    (  # counting
        (
            "{woman} has {a} {vegetable} and buys {b} more.",
            "There are {a} {vegetable} on the table and {b} in the box.",
            "{man} carries {a} {vegetable}, {woman} carries {b}.",
        ),
        ("Together that makes {sum} {vegetable}.", "Now there are {sum} {vegetable}."),
        (
            "{a} plus {b} is {sum}.",
            "{sum} is more than {a}.",
            "{b} and {a} make {sum}.",
        ),
    ),
)

GLOSSARY = (
    "{x} is a kind of {y}.",
    "When people speak of {x}, they mean a {y}.",
    "In the fab {x} counts as a {y}.",
    "The word {y} covers {x}.",
    "What is {x}? It is a {y}.",
)

LISTS = (  # a heading, and a line that is repeated with other words
    ("The weather in {town}:", "{day}: {weather}"),
    ("What belongs to whom:", "{woman}: a {colour} {thing}"),
    ("Who looks after what:", "{man}: {tool}, {day}"),
    ("State of the tools:", "{tool}: {part} {repair}"),
    ("Lots waiting for {step}:", "{lot}: {n} wafers, {metal}"),
    ("Animals seen on {day}:", "{animal}: {n}"),
    ("Shopping for {day}:", "{vegetable}: {n}"),
)


class Draws(dict):
    """The words of one document: drawn when first asked for, then kept.

    {tool2} is another draw of the same kind as {tool}.
    """

    def __init__(self, rng):
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str):
        kind = slot.rstrip("2")
        if kind == "lot":
            letter = "ABKMRT"[int(self.rng.integers(6))]
            drawn = f"{letter}{self.rng.integers(1000, 9999)}"
        elif kind in ("n", "k"):
            drawn = str(self.rng.integers(2, 26))
        elif kind in ("a", "b"):
            drawn = str(self.rng.integers(2, 10))
        elif kind == "sum":
            drawn = str(int(self["a"]) + int(self["b"]))
        else:
            taken = {self.get(kind), self.get(kind + "2")}
            options = [word for word in WORDS[kind] if word not in taken]
            drawn = options[int(self.rng.integers(len(options)))]
        self[slot] = drawn
        return drawn


def _sentence(frame: str, words: Draws) -> str:
    text = frame.format_map(words)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    start = re.search(r"\w", text).start()
    return text[:start] + text[start].upper() + text[start + 1 :]


def _story(rng, plot) -> str:
    words = Draws(rng)
    frames = [step[int(rng.integers(len(step)))] for step in plot]
    return " ".join(_sentence(frame, words) for frame in frames)


def _glossary(rng) -> str:
    """Three entries: what the wordings of defects stand for."""
    lines = []
    for _ in range(3):
        cause = tickets.CLASSES[int(rng.integers(len(tickets.CLASSES)))]
        wordings = tickets.WORDINGS[cause]
        x = wordings[int(rng.integers(1, len(wordings)))]
        frame = GLOSSARY[int(rng.integers(len(GLOSSARY)))]
        line = frame.format(x=x, y=cause)
        lines.append(line[0].upper() + line[1:])
    return " ".join(lines)


def _list(rng) -> str:
    """A heading and three or four lines, each of words of its own."""
    heading, line = LISTS[int(rng.integers(len(LISTS)))]
    lines = [_sentence(heading, Draws(rng))]
    for _ in range(int(rng.integers(3, 5))):
        lines.append(line.format_map(Draws(rng)))
    return "\n".join(lines)


def _echo(rng) -> str:
    """Things said and said again: what teaches a model to look back and copy.

    Half of them repeat a list, half ask for what belongs to a name that was mentioned.
    Copying is learned from such text long before it is from stories (Olsson et al.
    2022, on induction heads).
    """
    kinds = [*WORDS, "lot", "lot", "lot", "n"]
    drawn = [Draws(rng)[kinds[int(rng.integers(len(kinds)))]] for _ in range(8)]
    if rng.random() < 0.5:
        said = ", ".join(drawn[: int(rng.integers(3, 9))])
        return f"Read back: {said}. Once more: {said}."
    names = rng.permutation([*WORDS["woman"], *WORDS["man"]])[: int(rng.integers(3, 6))]
    said = ", ".join(f"{name} {thing}" for name, thing in zip(names, drawn))
    asked = [int(i) for i in rng.permutation(len(names))[:3]]
    answers = " ".join(f"What has {names[i]}? {drawn[i]}." for i in asked)
    return f"Noted: {said}. {answers}"


def document(index: int, seed: int = SEED) -> str:
    """Document ``index`` of the corpus: a paragraph; depends on (seed, index) alone."""
    rng = np.random.default_rng((seed, index))
    kind = rng.random()
    if kind < SHARE_TICKETS:
        label = int(rng.integers(len(tickets.CLASSES)))
        return tickets.ticket(rng, label, "pool")[0]
    if kind < SHARE_TICKETS + SHARE_GLOSSARY:
        return _glossary(rng)
    if kind < SHARE_TICKETS + SHARE_GLOSSARY + SHARE_LISTS:
        return _list(rng)
    if kind < SHARE_TICKETS + SHARE_GLOSSARY + SHARE_LISTS + SHARE_ECHOES:
        return _echo(rng)
    plots = FAB if rng.random() < 0.5 else GENERAL
    return _story(rng, plots[int(rng.integers(len(plots)))])
