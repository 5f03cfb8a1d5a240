"""Real opinions from four domains: tweets, film reviews, product reviews, editorials.

23,703 English sentences, each with the mean of 20 human ratings of sentiment from -4
to 4 (Hutto & Gilbert 2014, doi:10.1609/icwsm.v8i1.14550; MIT licence).  The domains
differ in words and in the share of positive texts: covariate and label shift at once.

Sentences of one product review or one editorial, and texts that are nearly the same,
are kept on one side of the splits.  What is known to go wrong: data/cards/opinions.md.
"""

import html
from functools import lru_cache

import numpy as np

from course_lib import assets
from course_lib.datasets.grouped_split import grouped_split
from course_lib.datasets.near_duplicates import merged, stored_groups, text_groups
from course_lib.datasets.texts import TextDataset
from course_lib.errors import CourseError

CLASSES = ("negative", "positive")
DOMAINS = {  # our name: the file's
    "tweets": "tweets",
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}
WITH_SOURCE = ("products", "editorials")  # whose ids name the review: "12_3"
SHARES = {"train": 0.5, "validation": 0.1, "test": 0.4}
THRESHOLD = 0.5  # of the mean rating; between -0.5 and 0.5 a text has no label
SPLIT_SEED = 23703


def load(
    domain: str = "films", split: str = "train", *, threshold: float = THRESHOLD
) -> TextDataset:
    """Opinions of one domain and split, labelled negative or positive.

    A text counts when its mean rating is at most -threshold or at least threshold.
    metadata: rating, id, group.  Split "unlabelled" gives the texts of the training
    part that lie between, for continued pre-training; their label says nothing.
    Raises CourseError for other names, and when the texts have not been fetched.
    """
    if domain not in DOMAINS or split not in (*SHARES, "unlabelled"):
        raise CourseError(
            f"opinions: domain={domain!r}, split={split!r}.\nExpected: one of "
            f"{', '.join(DOMAINS)}, and of {', '.join(SHARES)}, unlabelled."
        )
    if not threshold > 0:
        raise CourseError(f"opinions: threshold={threshold!r}.\nExpected: above 0.")
    rows = table()
    sure = np.abs(rows["rating"]) >= threshold
    part = splits()["train" if split == "unlabelled" else split]
    keep = (rows["domain"] == domain) & part
    keep &= ~sure if split == "unlabelled" else sure
    at = np.flatnonzero(keep)
    return TextDataset(
        tuple(rows["text"][i] for i in at),
        (rows["rating"][at] > 0).astype(np.int64),
        CLASSES,
        f"opinions/{domain}",
        split,
        {"rating": rows["rating"][at], "id": rows["id"][at], "group": groups()[at]},
    )


@lru_cache(maxsize=1)
def table() -> dict[str, np.ndarray]:
    """All texts in the order of DOMAINS and files: domain, id, rating, text."""
    found: dict[str, list] = {"domain": [], "id": [], "rating": [], "text": []}
    for domain, name in DOMAINS.items():
        path = assets.folder("opinions") / f"{name}_GroundTruth.txt"
        for line in path.read_text(encoding="utf-8").split("\n"):
            if not line.strip():
                continue
            number, rating, text = line.rstrip("\r").split("\t")
            found["domain"].append(domain)
            found["id"].append(number)
            found["rating"].append(float(rating))
            found["text"].append(html.unescape(text))  # "&amp;" in tweets
    columns = {key: np.array(values) for key, values in found.items() if key != "text"}
    return columns | {"text": np.array(found["text"], dtype=object)}


def find_groups() -> np.ndarray:
    """Groups (23703,): one review or editorial, and near-duplicates, stay together."""
    rows, parts, first = table(), [], 0
    for domain in DOMAINS:
        at = np.flatnonzero(rows["domain"] == domain)
        own = text_groups([rows["text"][i] for i in at])
        if domain in WITH_SOURCE:
            source = np.array([str(i).partition("_")[0] for i in rows["id"][at]])
            own = merged(own, source)
        parts.append(own + first)
        first += int(own.max()) + 1
    return np.concatenate(parts)


def groups() -> np.ndarray:
    """The stored groups (23703,)."""
    return stored_groups("opinions", len(table()["id"]))


@lru_cache(maxsize=1)
def splits() -> dict[str, np.ndarray]:
    """{split: boolean (23703,)}: whole groups, stratified by domain and label."""
    rows = table()
    level = np.digitize(rows["rating"], (-THRESHOLD, THRESHOLD))
    strata = np.char.add(rows["domain"], level.astype(str))
    return grouped_split(strata, groups(), SHARES, SPLIT_SEED)
