"""Put the videos of a list into a few large tar files, for object storage and many machines.

    python tools/data/make_shards.py data/kinetics400/train.txt \
        --videos data/kinetics400/videos_train --out s3://bucket/kinetics400/train --shuffle 0
    python tools/data/make_shards.py s3://bucket/lists/val.txt \
        --videos s3://bucket/videos --out data/shards/val

List, videos and shards may each be on a disk or behind a URL that fsspec knows. The same call goes
on where an earlier one was cut off. docs/shards.md tells more.
"""

import argparse

from amflow_mm.datasets.shards import make_shards, plan_shards
from amflow_mm.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Put the videos of a list into shards (tar files and an index).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("list", metavar="LIST", help="annotation list: path or URL")
    parser.add_argument("--videos", required=True, metavar="ROOT", help="folder or URL of videos")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder or URL of shards")
    parser.add_argument("--shard-megabytes", type=float, default=1000.0, help="size of a shard")
    parser.add_argument(
        "--shuffle", type=int, metavar="SEED", help="shuffle; for lists to train on, see docs"
    )
    parser.add_argument("--delimiter", default=" ", help="what separates path and label")
    parser.add_argument("--multi-class", action="store_true", help="videos have several labels")
    parser.add_argument("--threads", type=int, default=8, help="videos that are read at a time")
    return parser.parse_args()


def main() -> None:
    """Make the shards and say what they hold."""
    args = parse_args()
    with one_line_errors():
        plan = plan_shards(
            args.list,
            videos=args.videos,
            shard_bytes=int(args.shard_megabytes * 1e6),
            seed=args.shuffle,
            delimiter=args.delimiter,
            is_multi_class=args.multi_class,
        )
        index = make_shards(plan, args.out, num_threads=args.threads)
    gigabytes = sum(shard.num_bytes for shard in index.shards) / 1e9
    print(f"{len(index)} videos in {len(index.shards)} shards, {gigabytes:.2f} GB")


if __name__ == "__main__":
    main()
