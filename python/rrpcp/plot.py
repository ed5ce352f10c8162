"""Draws memory over the checkpoints of a directory into a picture.

    python3 -m rrpcp.plot DIRECTORY -o memory.png

Needs matplotlib.
"""

import argparse
import sys

from .series import series


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m rrpcp.plot", description=__doc__)
    parser.add_argument("directory", help="checkpoints, as pcp-rr create-checkpoints makes them")
    parser.add_argument("-o", "--output", required=True, help="picture to write (.png, .svg, .pdf)")
    arguments = parser.parse_args()
    try:
        import matplotlib  # pylint: disable=import-outside-toplevel

        matplotlib.use("Agg")
        from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    except ImportError:
        print("rrpcp.plot: matplotlib is missing; install python3-matplotlib", file=sys.stderr)
        return 2
    steps = list(series(arguments.directory))
    if not steps:
        print(f"rrpcp.plot: {arguments.directory}: there is no usable checkpoint", file=sys.stderr)
        return 1
    events = [step.event for step in steps]
    mebibytes = [step.page_size / 1048576 for step in steps]
    figure, (top, bottom) = pyplot.subplots(2, 1, sharex=True, figsize=(10, 6))
    top.plot(events, [s.resident_pages * m for s, m in zip(steps, mebibytes)], label="resident")
    top.plot(events, [s.file_size / 1048576 for s in steps], label="file")
    top.set_ylabel("MiB")
    top.set_ylim(bottom=0)
    top.legend()
    top.set_title(f"{len(steps)} checkpoints")
    bottom.bar(
        events[1:],
        [s.changed_pages for s in steps[1:]],
        width=max(1.0, (events[-1] - events[0]) / len(steps) * 0.8),
        label="changed since the one before",
    )
    bottom.set_ylabel("pages")
    bottom.set_xlabel("event")
    bottom.legend()
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=100)
    changed = sum(step.changed_pages for step in steps[1:])
    print(f"{arguments.output}: {len(steps)} checkpoints, {changed} changed pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
