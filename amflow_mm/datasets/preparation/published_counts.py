"""How many videos and classes the owners state, and where they do; docs/datasets cites in full."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What is stated of a data set.

    Attributes:
        videos: By split.
        num_classes: By the file that lists the classes.
        source: Who states it.
    """

    videos: Mapping[str, int]
    num_classes: Mapping[str, int]
    source: str


PUBLISHED = {
    "kinetics400": Published(
        videos={"train": 246_534, "val": 19_906, "test": 39_805},
        num_classes={"classes.txt": 400},
        # Rows of the lists. The videos that the same place hosts: 240,258, 19,881 and 38,685.
        source="lists hosted by the Common Visual Data Foundation",
    ),
    "ssv2": Published(
        videos={"train": 168_913, "val": 24_777, "test": 27_157},
        num_classes={"classes.txt": 174},
        source="the publisher's page of version 2",
    ),
    "smarthome": Published(
        videos={
            "cs_train": 8_831,
            "cs_val": 1_854,
            "cs_test": 5_444,
            "cv1_train": 1_877,
            "cv2_train": 7_806,
            "cv_val": 3_539,
            "cv_test": 1_901,
        },
        num_classes={"classes_cs.txt": 31, "classes_cv.txt": 19},
        source="the authors' split lists",
    ),
    "ucf101": Published(
        videos={
            "train_split_1": 9_537,
            "val_split_1": 3_783,
            "train_split_2": 9_586,
            "val_split_2": 3_734,
            "train_split_3": 9_624,
            "val_split_3": 3_696,
        },
        num_classes={"classes.txt": 101},
        source="ucfTrainTestlist of the authors",
    ),
    "hmdb51": Published(
        videos={
            f"{part}_split_{split}": 51 * per_class
            for split in (1, 2, 3)
            for part, per_class in (("train", 70), ("val", 30))
        },
        num_classes={"classes.txt": 51},
        source="the paper: 70 and 30 clips of each class",
    ),
    "diving48": Published(
        videos={"train": 15_027, "val": 1_970},
        num_classes={"classes.txt": 48},
        source="the authors' lists of version 2",
    ),
}
