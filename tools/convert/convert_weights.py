"""Convert image weights into one safetensors file that `pretrained` reads as it is.

    python tools/convert/convert_weights.py clip-vit-b16-openai --out clip_b16.safetensors
    python tools/convert/convert_weights.py ViT-L-14.pt --out clip_l14.safetensors
    python tools/convert/convert_weights.py --list

SRC is anything that `pretrained` takes: a name of the list, an address, hf:owner/repo,
mmpretrain::name or a file. Nothing in it is run. The written file tells in its metadata where it
comes from. docs/weights.md tells more.
"""

import argparse
import json
from dataclasses import asdict

from amflow_mm.apis.converting import (
    check_converted_path,
    convert_weights,
    describe_catalog,
    format_catalog,
)
from amflow_mm.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Convert image weights into safetensors.")
    parser.add_argument("source", nargs="?", metavar="SRC", help="the weights")
    parser.add_argument("--out", metavar="FILE", help="file to write, ends in .safetensors")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--list", action="store_true", help="print the weights that have a name")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    args = parser.parse_args()
    if args.list == (args.source is not None):
        parser.error("give either SRC or --list")
    if not args.list and args.out is None:
        parser.error("give --out, the file to write")
    return args


def main() -> None:
    """Convert, or list what has a name."""
    args = parse_args()
    if args.list:
        print(json.dumps(describe_catalog(), indent=2) if args.json else format_catalog())
        return
    with one_line_errors():
        path = check_converted_path(args.out, is_overwriting=args.force)
        done = convert_weights(args.source, path)
    if args.json:
        print(json.dumps(asdict(done), indent=2))
        return
    print(
        f"{done.path}\n{done.num_tensors} tensors, {done.num_parameters:,} parameters, "
        f"{done.num_bytes / 1e6:.1f} MB; layout {done.layout}, licence {done.license or 'unknown'}"
    )


if __name__ == "__main__":
    main()
