"""One of several processes that read the shards of a folder; writes what it has read."""

import json
import sys
from pathlib import Path

from mmengine.dist import collect_results
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

import amflow_mm  # noqa: F401  the remedies come before MMEngine
from amflow_mm.datasets.shards import ShardedVideoDataset, ShardSampler
from tests.datasets.shards.small_shards import ReadBytes


def main() -> None:
    folder = Path(sys.argv[1])
    rank, store = int(sys.argv[2]), f"file://{folder}/processes"
    init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    dataset = ShardedVideoDataset(
        str(folder / "shards" / "index.json"), [ReadBytes()], cache_dir=str(folder / "cache")
    )
    videos = [line.rsplit(" ", 1)[0] for line in (folder / "list.txt").read_text().splitlines()]
    is_right = True

    def read(sampler):
        nonlocal is_right
        loader = DataLoader(dataset, 4, sampler=sampler, collate_fn=list, num_workers=1)
        samples = [sample for batch in loader for sample in batch]
        for sample in samples:
            expected = (folder / "videos" / videos[sample["sample_idx"]]).read_bytes()
            is_right &= sample["data"] == expected
        return samples

    sampler, train = ShardSampler(dataset, window=1), []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        train.append([sample["sample_idx"] for sample in read(sampler)])
    tested = read(ShardSampler(dataset, shuffle=False))
    results = [[sample["sample_idx"], sample["label"]] for sample in tested]
    gathered = collect_results(results, len(dataset), "cpu", tmpdir=str(folder / "gathered"))
    facts = {"seed": sampler.seed, "train": train, "gathered": gathered, "is_right": is_right}
    (folder / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
