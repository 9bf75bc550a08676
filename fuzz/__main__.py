"""``python -m fuzz [COUNT]``: mutated datagrams against the RADIUS pipelines; exit 1 for a finding."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fuzz.campaign import Campaign, Report, figures
from fuzz.world import make_world

MILLION = 1_000_000
GROWTH_ALLOWED = 12 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """0: sound. 1: something was found, or memory grew."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=MILLION, help="how many (a million)")
    parser.add_argument("--seed", type=int, help="of an earlier run, to throw the same again")
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error("COUNT is at least 1")
    seed = secrets.randbits(32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        world = asyncio.run(make_world(Path(folder)))
    campaign = Campaign(world, seed)
    began = time.monotonic()
    try:
        campaign.run(given.count, _progress)
    except KeyboardInterrupt:
        print("interrupted; so far:")
    report = campaign.report
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    for line in figures(report, campaign.counters):
        print(line)
    print(f"time      {time.monotonic() - began:.0f} s")
    for one in report.findings:
        print(f"\n{one.label}, datagram {one.number}: {one.what}\n  {one.datagram.hex()}")
    grew = report.growth > GROWTH_ALLOWED
    if grew:
        grown, allowed = report.growth / 2**20, GROWTH_ALLOWED >> 20
        print(f"memory grew by {grown:.1f} MiB after the warm-up; {allowed} are allowed")
    return 1 if report.findings or grew else 0


def _progress(report: Report) -> None:
    if sys.stderr.isatty():
        print(
            f"\r{report.thrown:,} thrown, {len(report.findings)} findings",
            end="",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
