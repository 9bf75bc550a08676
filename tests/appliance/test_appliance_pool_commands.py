"""``hilltop pool`` as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

from test_appliance_cli import settle


def test_a_pool_from_first_to_last(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")

    def told() -> dict[str, object]:
        [pool] = json.loads(hilltop("pool", "list", "--json"))
        return pool  # type: ignore[no-any-return]

    hilltop("pool", "define", "homes", "10.60.0.0/24", "--exclude", "10.60.0.1", says="pool homes: ipp_")
    pool = told()
    assert (pool["size"], pool["free"], pool["rest_s"], pool["when_full"]) == (253, 253, 900, "reject")
    assert pool["excluded"] == ["10.60.0.1", "10.60.0.0", "10.60.0.255"]
    hilltop("pool", "define", "homes", "10.61.0.0/24", code=1, says="there is a pool homes")
    hilltop("pool", "define", "more", "10.60.0.128/25", code=1, says="the pool homes has some of these")
    hilltop("pool", "define", "x", "2001:db8::/32", "--kind", "delegated_prefix", "--length", "20", code=1,
            says="give 32 to 64")  # fmt: skip
    hilltop("pool", "change", "homes", "--range", "10.60.0.0/23", "--exclude-nothing", "--keep-hours", "24",
            "--when-full", "nas_pool", "--netmask", "23", "--drain",
            says="draining, excluded, keep_s, netmask_bits, ranges, when_full changed")  # fmt: skip
    pool = told()
    assert (pool["size"], pool["keep_s"], pool["draining"]) == (512, 86_400, True)
    hilltop("pool", "change", "homes", "--keep-until-needed", "--fill", says="draining, keep_s changed")
    hilltop("pool", "change", "homes", "--keep-until-needed", "--keep-hours", "1", code=2, says="choose one")
    assert "512" in hilltop("pool", "list")
    assert json.loads(hilltop("pool", "leases", "homes", "--json")) == []
    assert json.loads(hilltop("pool", "history", "10.60.0.9", "--json")) == []
    hilltop("pool", "history", code=2, says="one of them")
    hilltop("pool", "leases", "nowhere")
    hilltop("pool", "delete", "nowhere", code=1, says="there is no pool nowhere")
    hilltop("pool", "delete", "homes", says="pool homes is deleted")
    assert "pool.delete" in hilltop("audit")
