"""``python -m bench NAME``: run one measuring program and show its rows."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from bench.options import Options
from bench.table import Row, as_text

PROGRAMS = {
    "radius": "Hilltop's RADIUS against FreeRADIUS 3.2 from Debian's packages",
    "billing": "closing a month for 100,000 subscribers against what is wanted and a raw insert",
    "directory": "a worker's directory of 100,000 services against what is wanted of it",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Hilltop against others, both in one run."
    )
    listing = "; ".join(f"{name}: {what}" for name, what in PROGRAMS.items())
    parser.add_argument("name", choices=sorted(PROGRAMS), help=listing)
    parser.add_argument("--json", action="store_true", help="one object a line instead of the table")
    parser.add_argument(
        "--quick", action="store_true", help="small counts: a look within 45 s, not a figure to quote"
    )
    parser.add_argument("--only", action="append", metavar="ROW", help="only this row; may be given again")
    parser.add_argument(
        "--show-config", action="store_true", help="also print the servers' configurations as run"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every row is sound, 1 when a reply was wrong or a record missing, 2 when it cannot run."""
    given = _parser().parse_args(arguments)
    options = Options(quick=given.quick, only=tuple(given.only or ()), show_config=given.show_config)
    program = importlib.import_module(f"bench.{given.name}")
    rows: list[Row] = []
    sound = True
    try:
        for measured in program.measure(options):
            rows.append(measured.row)
            sound = sound and measured.sound
            if given.json:
                print(measured.row.as_json(), flush=True)
    except (RuntimeError, LookupError) as trouble:
        print(f"bench {given.name}: {trouble}", file=sys.stderr)
        return 2
    if not given.json:
        print(as_text(rows, program.OURS, program.THEIRS))
    return 0 if sound else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped again
    sys.exit(main())
