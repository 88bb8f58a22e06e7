"""Print a config as it is after its bases and the command line, as Python.

python tools/print_config.py configs/amflow_vits_motion.py --cfg-options model.neck.temperature=1.0
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for `python -m amflow_mm.tools.print_config`
from command_line import add_config_arguments


def main() -> None:
    """Print or save the resolved config."""
    parser = argparse.ArgumentParser(description="Print a resolved config.")
    add_config_arguments(parser)
    parser.add_argument("--save-path", type=Path, help="write it to this file instead")
    args = parser.parse_args()
    # Not before the command line is read: they take seconds.
    from amflow_mm.engine.errors import one_line_errors
    from amflow_mm.engine.launch import load_config

    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
    if args.save_path is None:
        print(cfg.pretty_text)
        return
    args.save_path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(args.save_path)
    print(args.save_path)


if __name__ == "__main__":
    main()
