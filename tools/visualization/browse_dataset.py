"""Show what the model sees of a data set: frames after the pipeline, labels, and the variation.

python tools/visualization/browse_dataset.py configs/amflow_vitb_smarthome_cs.py
python tools/visualization/browse_dataset.py CONFIG --loader val --indices 0 17 --format sheet
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments

from amflow_mm.apis.dataset_browser import DatasetBrowser
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.launch import load_config
from amflow_mm.progress import track
from amflow_mm.visualization.dataset_page import PageWriter, SheetWriter


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw samples of a config's data set after its whole pipeline.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_config_arguments(parser)
    parser.add_argument("--loader", choices=["train", "val", "test"], default="train")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--num", type=int, default=16, help="samples, the classes by turns")
    chosen.add_argument("--indices", type=int, nargs="+", help="samples, by their line from 0")
    parser.add_argument("--draws", type=int, default=3, help="how often each sample is drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and of the draws")
    parser.add_argument(
        "--normalized", action="store_true",
        help="send clips through the model's preprocessor and take mean and std back",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("work_dirs/browse"), help="folder")
    parser.add_argument("--format", choices=["sheet", "html", "both"], default="both")
    args = parser.parse_args()
    if args.num < 1 or args.draws < 1 or args.seed < 0:
        parser.error("--num and --draws must be >= 1, --seed >= 0")
    return args


def make_writers(args: argparse.Namespace, browser: DatasetBrowser) -> list:
    """Make what writes the pictures that were asked for."""
    stem = args.out / f"{Path(args.config).stem}_{args.loader}"
    writers: list[SheetWriter | PageWriter] = []
    if args.format != "sheet":
        page = stem.with_name(f"{stem.name}.html")
        writers.append(PageWriter(page, title=browser.title, facts=browser.facts()))
    if args.format != "html":
        writers.append(SheetWriter(stem, title=browser.title))
    return writers


def main() -> None:
    """Draw, write, and say where the pictures are and which samples cannot be read."""
    args = parse_args()
    bad = []
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        browser = DatasetBrowser(
            cfg, args.loader, seed=args.seed, through_preprocessor=args.normalized
        )
        indices = args.indices or browser.choose(args.num)
        browser.check_indices(indices)
        writers = make_writers(args, browser)
        for index in track(indices, description="samples"):
            sample = browser.draw(index, args.draws)
            if sample.error is not None:
                bad.append(f"sample {index}, {sample.path}: {sample.error}")
            for writer in writers:
                writer.add(sample)
        if len(bad) == len(indices):
            raise UserError(f"not one of {len(indices)} samples can be drawn; {bad[0]}")
        for writer in writers:
            print(*writer.finish(), sep="\n")
    for line in bad:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
