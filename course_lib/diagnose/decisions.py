"""Whether, what and how to transfer: the decision framework of the course as code.

A tree of yes-or-no questions about data, distance, compute, modality and regulation.
Its thresholds come from the course's own grids and were written down before the tree
was tested on situations that it had not seen.  ``decide`` walks down, and gives the
advice with its reasons; ``draw`` is the same tree as a picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from course_lib import memory
from course_lib.errors import CourseError
from course_lib.show import plots

MODALITIES = ("images", "texts", "writing")
# Labels a class, set before the tree was tested.  Fine-tuning passes a probe on a near
# source between 20 and 100: their geometric mean.  Far from the source the border was 7
# at first, from generated targets alone; on two real ones the last stage tuned with 20
# labels a class lost to no transfer by far (all layers were not tried, lesson 13), and
# since then the border is the same.
FEW = 45


@dataclass(frozen=True)
class Situation:
    """What is known before anything is trained.

    modality: "images" or "texts" to classify, or "writing" (a language model that
    writes).  labels: labelled examples in all, ``classes`` of them different.
    probe_wins: does a probe on frozen features beat the baseline without transfer on
    validation data?  That is what "near" means here; the baseline is a network trained
    from scratch for images, word counts for texts.  None: not measured yet.
    can_train: is there compute to train all layers?  gpu_gb: memory of the card, for
    "writing" with the language model ``model`` on ``sequence`` tokens.  keep_base: must
    the base stay as it is, because it serves other tasks too?  regulated: will somebody
    have to account for the decisions?
    """

    modality: str
    labels: int
    classes: int = 2
    probe_wins: bool | None = None
    can_train: bool = True
    keep_base: bool = False
    regulated: bool = False
    gpu_gb: float = 24.0
    model: str = "Llama-3.1-8B"
    sequence: int = 512

    def __post_init__(self):
        wrong = {
            "modality": self.modality not in MODALITIES,
            "labels": int(self.labels) != self.labels or self.labels < 0,
            "classes": int(self.classes) != self.classes or self.classes < 2,
            "gpu_gb": not self.gpu_gb > 0,
            "sequence": int(self.sequence) != self.sequence or self.sequence < 1,
        }
        for name, bad in wrong.items():
            if bad:
                raise CourseError(
                    f"Situation: {name}={getattr(self, name)!r}.\nExpected: modality "
                    f"one of {', '.join(MODALITIES)}; labels 0 or more, classes 2 or "
                    "more, whole numbers; gpu_gb and sequence above 0.\n"
                    f"Do: correct {name}."
                )

    @property
    def per_class(self) -> float:
        """Labelled examples of each class, on average."""
        return self.labels / self.classes

    def fits(self, method: str) -> bool:
        """Does training ``model`` by "lora" or "qlora" fit on the card?"""
        options = memory.Options(method, sequence=self.sequence)
        planned = memory.plan(memory.describe(self.model), options)
        return memory.fits(planned, self.gpu_gb).fits


@dataclass(frozen=True)
class Advice:
    """A leaf: what to do, why, and the lesson that shows it."""

    strategy: str
    why: str
    lessons: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A node: a question, how a situation answers it, and where each answer leads."""

    text: str
    ask: Callable[[Situation], bool]
    yes: Question | Advice
    no: Question | Advice


@dataclass(frozen=True)
class Decision:
    """An advice, the answers that led to it, and what else has to be done."""

    situation: Situation
    advice: Advice
    path: tuple[tuple[str, bool], ...]
    duties: tuple[str, ...] = field(default=())

    @property
    def strategy(self) -> str:
        """What to do, in a few words."""
        return self.advice.strategy

    def __str__(self) -> str:
        answers = [f"  {q} {'yes' if yes else 'no'}" for q, yes in self.path]
        numbers = self.advice.lessons
        shown = f"lesson{'s'[: len(numbers) > 1]} "
        shown += ", ".join(f"{n:02d}" for n in numbers)
        return "\n".join(
            [
                f"{self.strategy}: {self.advice.why} ({shown})",
                *answers,
                *(f"  also: {duty}" for duty in self.duties),
            ]
        )


# -- the tree ---------------------------------------------------------------------


SMALLER = Advice(
    "a smaller model",
    "neither 16-bit LoRA nor QLoRA fits on this card",
    (10,),
)
QLORA = Advice(
    "QLoRA",
    "four bits bring the weights onto the card; what they cost depends on the model",
    (10,),
)
LORA = Advice("LoRA in 16 bits", "it fits, and needs no quantised weights", (8, 10))
ASK_AGAIN = Advice(
    "measure first",
    "train the baseline and a probe on frozen features: both take under a minute here, "
    "and no distance says which of them wins",
    (11, 12),
)
ZERO_SHOT = Advice(
    "zero-shot, and collect labels",
    "without two labels a class nothing can be validated; descriptions of the classes "
    "are a start with a low ceiling",
    (3, 7),
)
PROBE = Advice(
    "probe on frozen features",
    "with a near source and few labels it beat fine-tuning, and costs seconds",
    (3, 12),
)
BASELINE = Advice(
    "the baseline without transfer",
    "frozen features of a far source lost to it by up to 39 points",
    (7, 12),
)
EITHER = Advice(
    "fine-tune or baseline, by validation",
    "with so few labels our sources won on some far targets and lost on others",
    (12, 13),
)
FINE_TUNE = Advice(
    "fine-tune all layers",
    "with that many labels no other way was clearly ahead, near or far",
    (3, 7, 12),
)
ADAPTERS = Advice(
    "LoRA or adapters",
    "within the spread of full fine-tuning, and the base stays as it was",
    (8, 9),
)

_tune = Question(
    "Must the base serve other tasks too?", lambda s: s.keep_base, ADAPTERS, FINE_TUNE
)
_near = Question(
    f"Fewer than {FEW} labels a class?", lambda s: s.per_class < FEW, PROBE, _tune
)
_far = Question(
    f"Fewer than {FEW} labels a class?",
    lambda s: s.per_class < FEW,
    EITHER,
    _tune,
)
_trained = Question(
    "Does the probe win on validation?", lambda s: bool(s.probe_wins), _near, _far
)
_cheap = Question(
    "Does the probe win on validation?", lambda s: bool(s.probe_wins), PROBE, BASELINE
)
_compute = Question(
    "Compute to train all layers?", lambda s: s.can_train, _trained, _cheap
)
_measured = Question(
    "Frozen probe and baseline measured?",
    lambda s: s.probe_wins is not None,
    _compute,
    ASK_AGAIN,
)
_labelled = Question(
    "Two labels a class or more?", lambda s: s.per_class >= 2, _measured, ZERO_SHOT
)
_card = Question("Does QLoRA fit?", lambda s: s.fits("qlora"), QLORA, SMALLER)
_writes = Question("Does 16-bit LoRA fit?", lambda s: s.fits("lora"), LORA, _card)
TREE = Question(
    "Must the model write, not classify?",
    lambda s: s.modality == "writing",
    _writes,
    _labelled,
)

DUTIES = (
    "record seeds, versions and sha256 of data and weights with every result",
    "keep the baseline's result beside the model's",
    "check the licence of the weights, and of what they were trained on",
    "report accuracy and calibration by subgroup; a source may hand its bias on",
    "write a model card with intended use and limits",
)


def decide(situation: Situation) -> Decision:
    """Walk down the tree; the advice with its reasons."""
    node, path = TREE, []
    while isinstance(node, Question):
        answer = bool(node.ask(situation))
        path.append((node.text, answer))
        node = node.yes if answer else node.no
    duties = DUTIES if situation.regulated else DUTIES[1:2]
    return Decision(situation, node, tuple(path), duties)


def leaves(node: Question | Advice = TREE) -> Iterator[Advice]:
    """Every advice of the tree, from top to bottom as it is drawn."""
    if isinstance(node, Advice):
        yield node
        return
    yield from leaves(node.yes)
    yield from leaves(node.no)


# -- the picture ------------------------------------------------------------------


def draw(decision: Decision | None = None, title: str = "Whether and how to transfer"):
    """The tree as a figure, questions on the left; a decision's path stands out."""
    rows = sum(1 for _ in leaves())
    fig, axes = plots.new(width=10.5, height=0.55 * rows + 0.4)
    axes.axis("off")
    axes.set_title(title)
    heights = iter(range(rows, 0, -1))
    answers = dict(enumerate(decision.path)) if decision else {}

    def place(node, depth, on_path):
        """Draw a node; returns its height."""
        strong = on_path and decision is not None
        box = dict(
            boxstyle="round" if isinstance(node, Question) else "square",
            facecolor="#dce9f5" if strong else "white",
            edgecolor="#000000" if strong else "#777777",
            linewidth=2 if strong else 0.8,
        )
        look = dict(ha="center", va="center", fontsize=8, bbox=box, zorder=3)
        if isinstance(node, Advice):
            y = next(heights)
            said = textwrap.fill(node.strategy, 16)
            axes.text(depth, y, said, fontweight="bold", **look)
            return y
        sides = []
        for answer, child in ((True, node.yes), (False, node.no)):
            taken = on_path and answers.get(depth, (None, None))[1] is answer
            sides.append((answer, taken, place(child, depth + 1, taken)))
        y = sum(at for *_, at in sides) / 2
        for answer, taken, at in sides:
            width, colour = (2.2, "#000000") if taken else (0.8, "#777777")
            corner = depth + 0.46
            line = dict(color=colour, linewidth=width, solid_joinstyle="round")
            axes.plot([depth, corner, corner, depth + 1], [y, y, at, at], **line)
            axes.text(
                corner,
                at,
                "yes" if answer else "no",
                ha="center",
                va="center",
                fontsize=8,
                color="#000000",
                bbox=dict(facecolor="white", edgecolor="none", pad=0.5),
            )
        axes.text(depth, y, textwrap.fill(node.text, 15), **look)
        return y

    place(TREE, 0, True)
    axes.set_xlim(-0.5, 7.5)
    axes.set_ylim(0.4, rows + 0.6)
    return fig
