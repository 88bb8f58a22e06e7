"""The quick start: train AM Flow on generated motion clips and show what it sees.

python tools/demo.py
"""

import argparse
from pathlib import Path


def main() -> None:
    """Run the demo and print its table."""
    parser = argparse.ArgumentParser(description="Train AM Flow on generated motion clips.")
    parser.add_argument(
        "--out-dir", type=Path, default=Path("work_dirs/demo"), help="folder of the results"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every training")
    args = parser.parse_args()
    # Not before the command line is read: they take seconds.
    from amflow_mm.apis.demo import format_report, run_demo
    from amflow_mm.engine.errors import one_line_errors

    with one_line_errors():
        report = run_demo(args.out_dir, args.seed)
    print(f"\n{format_report(report)}")


if __name__ == "__main__":
    main()
