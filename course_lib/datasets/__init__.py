"""Data sets of the course, and of the learner.

>>> from course_lib import datasets
>>> train = datasets.load("wafer_micrographs", "train")  # 500 images, 5 classes
>>> own = datasets.from_folder("my_images")  # my_images/CLASS/picture.png

What each set is, how it was made and what it cannot show: data/cards/.

Own data come in by :mod:`image_files` (folders are understood by :mod:`layout`, files
by :mod:`pictures`, their depth by :mod:`scaling`), :mod:`own_texts` and :mod:`tables`
(:mod:`delimited`, :mod:`workbooks`; labels by :mod:`labels`).  The course's sets stand
in :mod:`catalogue`: rendered ones are stored by :mod:`committed`, public ones fetched.
"""

from course_lib.datasets import opinions, series, solar_cells
from course_lib.datasets.catalogue import load, names, splits
from course_lib.datasets.image_files import (
    Reader,
    from_csv,
    from_folder,
    read_folder,
    read_image,
    read_own,
    read_table,
)
from course_lib.datasets.images import ImageDataset, from_arrays
from course_lib.datasets.own_texts import OwnTexts, held, read_own_texts
from course_lib.datasets.real import photographs
from course_lib.datasets.texts import TextDataset, texts_from_csv
