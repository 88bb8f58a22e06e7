"""Splits that depend on the seed and on the names alone, not on the order of files on a disk.

Names are ordered by a digest of seed and name. A video that is added later therefore moves few
others, and the same folder is split the same way on every machine.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence


def stratified_split(
    names: Sequence[str], labels: Sequence[int], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Divide each class by the same shares.

    A class with fewer videos than there are splits goes to the splits in the order of ``shares``.

    Args:
        names: Of the videos, all different.
        labels: Their classes.
        shares: Of each split; they add up to 1. The first is the one that rounding favours.
        seed: Other seeds give other splits.

    Returns:
        The split of each video.
    """
    _check_shares(shares)
    members: dict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(names)), key=lambda i: _order(names[i], seed)):
        members[labels[position]].append(position)
    result = [""] * len(names)
    for positions in members.values():
        counts = _divide(len(positions), shares)
        drawn = iter(positions)
        # The first split takes what is left, so that its members are stable under additions.
        for split, count in reversed(list(counts.items())):
            for _ in range(count):
                result[next(drawn)] = split
    return result


def grouped_split(
    names: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str],
    shares: Mapping[str, float],
    *,
    seed: int,
) -> list[str]:
    """Divide whole groups (people, places, source videos), classes as evenly as groups allow.

    Groups are dealt one after the other, each to the split where it brings the classes nearest to
    their shares. The order is drawn with the seed.

    Args:
        names: Of the videos, for errors.
        labels: Their classes.
        groups: Their groups.
        shares: Of each split; they add up to 1.
        seed: Other seeds give other splits, where there are groups enough.

    Returns:
        The split of each video.
    """
    _check_shares(shares)
    contents: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        contents[group][label] += 1
    if len(contents) < len(shares):
        raise ValueError(
            f"{len(contents)} groups ({', '.join(sorted(contents))}) of {len(names)} videos cannot "
            f"fill {len(shares)} splits ({', '.join(shares)}): no group may be in two; use a finer "
            "group or fewer splits"
        )
    deal = _Deal(Counter(labels), shares)
    for group in sorted(contents, key=lambda name: _order(name, seed)):
        deal.give(group, contents[group])
    deal.fill_empty(contents)
    return [deal.split_of[group] for group in groups]


class _Deal:
    """Groups that are dealt to splits, and how many videos of each class these hold."""

    def __init__(self, totals: Counter[int], shares: Mapping[str, float]) -> None:
        self.split_of: dict[str, str] = {}
        self._targets = {
            split: {label: share * total for label, total in totals.items()}
            for split, share in shares.items()
        }
        self._held: dict[str, Counter[int]] = {split: Counter() for split in shares}

    def give(self, group: str, content: Counter[int]) -> None:
        """Give a group to the split that it suits best."""
        self._put(group, content, min(self._held, key=lambda split: self._cost(split, content)))

    def fill_empty(self, contents: Mapping[str, Counter[int]]) -> None:
        """Move the best suited group into each split that got none."""
        for split, held in self._held.items():
            if held:
                continue
            sizes = Counter(self.split_of.values())
            movable = [group for group, home in self.split_of.items() if sizes[home] > 1]
            group = min(movable, key=lambda name: self._cost(split, contents[name]))
            self._held[self.split_of[group]] -= contents[group]
            self._put(group, contents[group], split)

    def _put(self, group: str, content: Counter[int], split: str) -> None:
        self.split_of[group] = split
        self._held[split].update(content)

    def _cost(self, split: str, content: Counter[int]) -> float:
        """Return by how much the squared distance to the target grows, relative to the target."""
        cost = 0.0
        for label, count in content.items():
            target, held = self._targets[split][label], self._held[split][label]
            cost += ((held + count - target) ** 2 - (held - target) ** 2) / target
        return cost


def _divide(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Round the shares of a class; no split is left empty as long as there are videos for all."""
    first, *others = shares
    result = {}
    rest = count
    for position, split in enumerate(others):
        wanted = max(1, round(count * shares[split]))
        # One is for the first split, and one for each that is still to come, while there are.
        available = max(rest - (len(others) - position), min(1, rest - 1))
        result[split] = min(wanted, available)
        rest -= result[split]
    return {first: rest, **result}


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()


def _check_shares(shares: Mapping[str, float]) -> None:
    total = sum(shares.values())
    if abs(total - 1) > 1e-6 or any(share <= 0 for share in shares.values()):
        parts = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise ValueError(f"the shares {parts} must be positive and add up to 1")
