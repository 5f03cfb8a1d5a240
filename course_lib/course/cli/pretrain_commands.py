"""`course pretrain --on`: a backbone that goes on learning on unlabelled pictures."""

import sys
from pathlib import Path

import torch

from course_lib.course.cli import command_options
from course_lib.jobs import pretrain_job, pretrain_report
from course_lib.lessons import claims
from course_lib.show.console import print_json

EVIDENCE = ("C72", "C73")  # of the ledger: whether it helps, and what the rank says
FOUND = (  # the two rows in plain words; a test compares
    "It may not help. In lesson 14 short training that went on from ImageNet's weights "
    "lost a point or two on solar cells, and seven on speech, whose pictures are "
    "unlike photographs. From random weights it gained on speech with "
    "very few labels alone. RankMe rose and fell with accuracy on one of the two, and "
    "against it on the other (`course claims C72`, C73)."
)


def go_on(typed: command_options.Pretrain, config) -> int:
    """What changed in words, report and backbone in a folder."""
    stream, told = sys.stderr if typed.json else sys.stdout, []
    if typed.threads:
        torch.set_num_threads(typed.threads)

    def show(pool):
        told.extend(pool.notes)
        print(
            f"Pictures of {pool.name}: {len(pool.images):,} to learn from, "
            f"{len(pool.held):,} held out; no labels are used.",
            file=stream,
        )
        for note in pool.notes:
            print(f"- {note}", file=stream)
        print(file=stream, flush=True)

    result, _ = pretrain_job.run(
        config,
        typed.on,
        Path(typed.out or "pretrained"),
        again=typed.again,
        skip_unreadable=typed.skip_unreadable,
        evidence=evidence(),
        on_data=show,
    )
    if typed.json:
        print_json(result.to_dict())
        return 0
    print(pretrain_report.text(result, told))
    print()
    for line in pretrain_report.use(result, result.folder):
        print(line)
    print(f"\nThe report with figures: {result.folder / 'report.html'}")
    return 0


def evidence() -> list[str]:
    """What the ledger says of such training: in plain words, then a row a claim."""
    rows = [claims.claim(id) for id in EVIDENCE]
    return [FOUND] + [
        f'{row["id"]} (lesson {row["lesson"]}): the claim "{row["claim"]}" is '
        f"{row['verdict']}. {row['finding']}."
        for row in rows
    ]
