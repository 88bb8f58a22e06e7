"""Toyota Smarthome, trimmed: three protocols that follow from the file names alone.

`Cook.Cleandishes_p02_r00_v02_c03.mp4`: activity, subject p, repetition r, clip v, camera c.
Subjects and cameras of the protocols: Das et al., Toyota Smarthome: Real-World Activities of Daily
Living, ICCV 2019, section 5. The 19 activities of the cross-view protocols are those of figures 3
and 4 of its supplement, in the order of the authors' code:
https://github.com/srijandas07/vpnplusplus/blob/74227f534081f0449b64a918cc854ef8753e3643/_name_to_int.py
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from amflow_mm.datasets.preparation.plan import Entry, Finding, Plan, PreparationError, Split
from amflow_mm.datasets.preparation.published_counts import PUBLISHED
from amflow_mm.datasets.preparation.video_index import VideoIndex, index_videos, video_stem
from amflow_mm.datasets.storage import StoredPath

CS_CLASSES = (
    "Cook.Cleandishes",
    "Cook.Cleanup",
    "Cook.Cut",
    "Cook.Stir",
    "Cook.Usestove",
    "Cutbread",
    "Drink.Frombottle",
    "Drink.Fromcan",
    "Drink.Fromcup",
    "Drink.Fromglass",
    "Eat.Attable",
    "Eat.Snack",
    "Enter",
    "Getup",
    "Laydown",
    "Leave",
    "Makecoffee.Pourgrains",
    "Makecoffee.Pourwater",
    "Maketea.Boilwater",
    "Maketea.Insertteabag",
    "Pour.Frombottle",
    "Pour.Fromcan",
    "Pour.Fromkettle",
    "Readbook",
    "Sitdown",
    "Takepills",
    "Uselaptop",
    "Usetablet",
    "Usetelephone",
    "Walk",
    "WatchTV",
)
CV_CLASSES = (
    "Cutbread",
    "Drink.Frombottle",
    "Drink.Fromcan",
    "Drink.Fromcup",
    "Drink.Fromglass",
    "Eat.Attable",
    "Eat.Snack",
    "Enter",
    "Getup",
    "Leave",
    "Pour.Frombottle",
    "Pour.Fromcan",
    "Readbook",
    "Sitdown",
    "Takepills",
    "Uselaptop",
    "Usetablet",
    "Usetelephone",
    "Walk",
)

NAME = re.compile(
    r"(?P<activity>[A-Za-z]+(?:\.[A-Za-z]+)?)"
    r"_p(?P<subject>\d+)_r(?P<repetition>\d+)_v(?P<clip>\d+)_c(?P<camera>\d+)"
)


@dataclass(frozen=True)
class ClipName:
    """What a file name tells."""

    activity: str
    subject: int
    repetition: int
    clip: int
    camera: int


@dataclass(frozen=True)
class Protocol:
    """Which clips a list takes: classes, and the values of one field of the file name.

    The field is named because it matters: a generator of splits in circulation looks for the
    *subject* among the training cameras of CV2.
    """

    classes_file: Literal["classes_cs.txt", "classes_cv.txt"]
    by: Literal["subject", "camera"]
    values: frozenset[int]

    def takes(self, clip: ClipName) -> bool:
        """Tell whether a clip belongs to the list."""
        is_class = clip.activity in CLASSES[self.classes_file]
        return is_class and getattr(clip, self.by) in self.values


CLASSES: Mapping[str, Sequence[str]] = {
    "classes_cs.txt": CS_CLASSES,
    "classes_cv.txt": CV_CLASSES,
}
PROTOCOLS = {
    "cs_train": Protocol("classes_cs.txt", "subject", frozenset({3, 4, 6, 7, 9, 12, 13, 15, 17})),
    "cs_val": Protocol("classes_cs.txt", "subject", frozenset({19, 25})),
    "cs_test": Protocol("classes_cs.txt", "subject", frozenset({2, 10, 11, 14, 16, 18, 20})),
    "cv1_train": Protocol("classes_cv.txt", "camera", frozenset({1})),
    "cv2_train": Protocol("classes_cv.txt", "camera", frozenset({1, 3, 4, 6, 7})),
    "cv_val": Protocol("classes_cv.txt", "camera", frozenset({5})),
    "cv_test": Protocol("classes_cv.txt", "camera", frozenset({2})),
}
SUBJECTS = frozenset().union(*(p.values for p in PROTOCOLS.values() if p.by == "subject"))
CAMERAS = frozenset().union(*(p.values for p in PROTOCOLS.values() if p.by == "camera"))


def parse_name(stem: str) -> ClipName | None:
    """Read a file name without suffix; None if it does not follow the scheme."""
    match = NAME.fullmatch(stem)
    if match is None:
        return None
    fields = match.groupdict()
    activity = fields.pop("activity")
    return ClipName(activity, **{key: int(value) for key, value in fields.items()})


def plan_smarthome(videos: StoredPath) -> Plan:
    """Make the lists of the protocols CS, CV1 and CV2.

    Args:
        videos: Folder of the trimmed videos, ``mp4`` in the owners' archive.

    Raises:
        PreparationError: No file name follows the scheme.
    """
    index = index_videos(videos)
    clips: dict[str, ClipName] = {}
    odd: dict[str, list[str]] = defaultdict(list)
    for path in index.paths:
        clip = parse_name(video_stem(path))
        if clip is not None:
            clips[path] = clip
        for trouble in _find_troubles(clip):
            odd[trouble].append(path)
    if not clips:
        raise PreparationError(
            f"smarthome: no file such as Cook.Cleandishes_p02_r00_v02_c03.mp4 in {videos}, which "
            f"holds {len(index.paths)} videos" + _example(index.paths)
        )
    return Plan(
        dataset="smarthome",
        splits=tuple(
            _make_split(name, protocol, clips, index) for name, protocol in PROTOCOLS.items()
        ),
        classes={file: tuple(names) for file, names in CLASSES.items()},
        findings=tuple(Finding(what, tuple(paths)) for what, paths in odd.items()),
        source=PUBLISHED["smarthome"].source,
    )


def _make_split(
    name: str, protocol: Protocol, clips: Mapping[str, ClipName], index: VideoIndex
) -> Split:
    classes = CLASSES[protocol.classes_file]
    # Both protocols of training are validated and tested alike.
    is_shared = name in ("cv_val", "cv_test")
    return Split(
        name=name,
        entries=tuple(
            Entry(path, classes.index(clip.activity))
            for path, clip in clips.items()
            if protocol.takes(clip)
        ),
        list_file=f"{name}.txt",
        classes_file=protocol.classes_file,
        index=index,
        place="mp4",
        protocols=("cv1", "cv2") if is_shared else (name.partition("_")[0],),
        published=PUBLISHED["smarthome"].videos[name],
    )


def _find_troubles(clip: ClipName | None) -> Iterator[str]:
    """Yield what keeps a clip out of some protocols that it should perhaps be in."""
    if clip is None:
        yield "names that do not follow the scheme"
        return
    if clip.activity not in CS_CLASSES:
        yield "activities that are none of the 31"
    if clip.subject not in SUBJECTS:
        yield "subjects that are in no protocol"
    if clip.camera not in CAMERAS:
        yield "cameras that are in no protocol"


def _example(paths: Sequence[str]) -> str:
    return f" such as {paths[0]}" if paths else ""
