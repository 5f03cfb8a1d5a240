"""`course train` on a folder of pictures, with its defaults: this tree against another.

    python benchmarks/own_pictures.py PICTURES [--against TREE] [--labels 20]
        [--test 600] [--seeds 5] [--groups FILE.csv] [--set strategy=full ...]
    python benchmarks/own_pictures.py PICTURES --diagnose [--against TREE] [--seeds 3]
    python benchmarks/own_pictures.py --cost

PICTURES has one subfolder a class.  For each seed, --labels pictures of each class are
drawn for training (the job takes its validation part from them), and up to --test
others, in equal shares, to test on; both trees get the same files.  --groups names the
group of each file (columns file, group, for instance near-duplicates): groups of the
training part are not tested on.  Prints test accuracy and processor seconds as mean and
95 % interval over the seeds, and the paired difference.  --baseline trains from
scratch, too, as the default does; the accuracy of the trained model is the same.
Whatever is done is kept in --results, and the same command goes on from there.

--diagnose runs `course diagnose` of both trees instead, which draws and holds out the
pictures itself, and compares the test accuracy of the way with transfer that validation
preferred, its mean over the draws of a diagnosis.

--cost measures what training/picture_size.py states: processor seconds of a picture's
way through EfficientNet-Lite0, and how many times as long an update takes.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def drawn(args, seed):
    """{part: {class: files}}: training and test files of one seed."""
    groups = {}
    if args.groups:
        with open(args.groups, newline="", encoding="utf-8") as stream:
            groups = {row["file"]: row["group"] for row in csv.DictReader(stream)}
    classes = sorted(p for p in Path(args.pictures).iterdir() if p.is_dir())
    chance, parts, seen = random.Random(seed), {"train": {}, "test": {}}, set()
    rest = {}
    for folder in classes:
        files = sorted(p for p in folder.iterdir() if p.is_file())
        chance.shuffle(files)
        parts["train"][folder.name] = files[: args.labels]
        rest[folder.name] = files[args.labels :]
        seen |= {groups.get(p.name, p) for p in files[: args.labels]}
    share = args.test // len(classes)
    for name, files in rest.items():
        others = [p for p in files if groups.get(p.name, p) not in seen]
        parts["test"][name] = others[:share]
    return parts


def laid_out(parts, root):
    """A folder of links to the files, as `course train` reads it."""
    for part, classes in parts.items():
        for name, files in classes.items():
            (root / part / name).mkdir(parents=True)
            for file in files:
                (root / part / name / file.name).symlink_to(file.resolve())


def child(data, tree, settings):
    """Train with the library of ``tree``; print accuracy and seconds as JSON."""
    import course_lib

    try:
        from course_lib.jobs import configuration, pipeline
    except ImportError:  # trees in which jobs was one module
        from course_lib import job_config as configuration
        from course_lib import jobs as pipeline

    assert Path(course_lib.__file__).is_relative_to(Path(tree).resolve())
    began = time.process_time()
    config = configuration.from_dict(settings)
    result = pipeline.run(config, data, progress=False)
    row = {"accuracy": result.test_accuracy, "seconds": time.process_time() - began}
    row["scratch"] = result.baseline_accuracy
    test, history = result.transfer["test"], result.transfer["history"] or {}
    row |= {"balanced": test["balanced_accuracy"], "steps": history.get("steps")}
    print(json.dumps(row | {"notes": result.notes[:6]}))


def said(args, tree, command):
    """What Python prints with the library of ``tree``."""
    threads = {"OMP_NUM_THREADS": str(args.threads), "CI": "1"}
    environment = os.environ | threads | {"PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def trained(args, tree, seed, settings):
    """One job of `course train` on the pictures of a seed."""
    with tempfile.TemporaryDirectory() as where:
        laid_out(drawn(args, seed), Path(where) / "pictures")
        command = [__file__, "--child", f"{where}/pictures", str(tree)]
        printed = said(args, tree, [*command, json.dumps(settings)])
    return json.loads(printed.splitlines()[-1])


def diagnosed(args, tree, seed):
    """One run of `course diagnose` on all pictures."""
    split = (Path(tree) / "course_lib/course/cli").exists()
    module = "course_lib.course.cli" if split else "course_lib.cli"
    with tempfile.TemporaryDirectory() as where:
        command = ["-m", module, "diagnose", "--json"]
        command += ["--data", Path(args.pictures).resolve(), "--out", where]
        command += ["--labels-per-class", args.labels, "--seed", seed]
        found = json.loads(said(args, tree, map(str, command)))
    row = {"accuracy": found["chosen"]["with"]["test"], "kind": found["kind"]}
    spent = {"seconds": found["seconds"]["total"]}
    return row | spent | {"scratch": None, "balanced": None}


def run(args, name, tree, seed):
    """One job or diagnosis in a process of its own, kept in --results."""
    settings = {"baseline": args.baseline, "onnx": False, "seed": seed}
    for given in args.set if name == "this" else ():
        key, _, value = given.partition("=")
        settings[key] = value
    about = {"diagnose": seed} if args.diagnose else settings
    key = json.dumps([str(args.pictures), args.labels, args.test, name, about])
    path = Path(args.results)
    kept = json.loads(path.read_text()) if path.exists() else {}
    if key not in kept:
        if args.diagnose:
            kept[key] = diagnosed(args, tree, seed)
        else:
            kept[key] = trained(args, tree, seed, settings)
        path.write_text(json.dumps(kept, indent=1))
        row = kept[key]
        print(
            f"{name}, seed {seed}: {row['accuracy']:.3f}, {row['seconds']:.0f} s",
            flush=True,
        )
    return kept[key]


def compare(args):
    """All seeds, then the table."""
    from course_lib.analysis import statistics

    trees = {"this": HERE} | ({"other": args.against} if args.against else {})
    rows = {name: [] for name in trees}
    for seed in range(args.seeds):
        for name, tree in trees.items():
            rows[name].append(run(args, name, tree, seed))
    for name, found in rows.items():
        for number in ("accuracy", "balanced", "seconds", "scratch"):
            values = [row[number] for row in found]
            if None not in values:
                print(f"{name}, {number}: {statistics.mean_and_interval(values)}")
    if args.against:
        pairs = zip(rows["this"], rows["other"])
        gains = [a["accuracy"] - b["accuracy"] for a, b in pairs]
        print(f"difference in accuracy: {statistics.mean_and_interval(gains)}")


def cost():
    """Seconds of one picture, forward and in an update."""
    import numpy as np
    import torch

    from course_lib import training
    from course_lib.models import zoo

    backbone = zoo.load("imagenet/efficientnet-lite0", 2)
    for size in (96, 128, 224):
        images = np.random.default_rng(0).integers(0, 256, (32, size, size, 3))
        data = images.astype(np.uint8), np.arange(32) % 2
        took = []
        for work in (
            lambda data=data: training.evaluate(backbone, data),
            lambda data=data: training.fit(backbone, data, epochs=1),
        ):
            began = time.process_time()
            work()
            took.append((time.process_time() - began) / 32)
        print(
            f"{size} pixels, {torch.get_num_threads()} thread(s): forward "
            f"{took[0]:.4f} s a picture, an update {took[1] / took[0]:.1f} times that"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="?")
    parser.add_argument("--against", metavar="TREE", help="the root of another tree")
    parser.add_argument("--labels", type=int, default=20, help="of a class")
    parser.add_argument("--test", type=int, default=600, help="pictures, at most")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--groups", metavar="FILE", help="columns file, group")
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", default="own_pictures.json")
    parser.add_argument("--diagnose", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child[:2], json.loads(args.child[2]))
    elif args.cost:
        cost()
    else:
        compare(args)


if __name__ == "__main__":
    main()
