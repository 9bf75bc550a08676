"""``hilltop promotion`` and ``hilltop equipment`` as an operator types it."""

from __future__ import annotations

from pathlib import Path

from test_appliance_cli import settle


def test_a_coupon_is_defined_given_and_taken_away(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")
    hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    hilltop("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    hilltop("account", "add", "Fir", "--number", "A-1")
    hilltop(
        "service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n"
    )
    hilltop(
        "promotion", "define", "half", "Half price", "--percent", "50", "--plan", "home", "--periods", "2"
    )
    hilltop(
        "promotion", "define", "HALF", "Again", "--percent", "5", code=1, says="there is a promotion HALF"
    )
    hilltop("promotion", "define", "X1", "X", "--percent", "half", code=2, says="--percent 'half'")
    hilltop("promotion", "define", "FRIEND", "Friends", "--referral", "20.00")
    assert "50 % off" in hilltop("promotion", "list")
    use = (
        hilltop("promotion", "redeem", "half", "A-1", says="redeemed: HALF").rpartition("(")[2].strip(" )\n")
    )
    hilltop("promotion", "redeem", "half", "A-1", says="exists: HALF")
    hilltop(
        "promotion", "redeem", "friend", "A-1", "--referred-by", "A-1", code=1, says="nobody brings himself"
    )
    assert use in hilltop("promotion", "uses", "--account", "A-1")
    hilltop("promotion", "credit-referrals", says="0 referrals credited")
    hilltop("promotion", "end", use, "--reason", "mistake", says="ends on")
    hilltop("promotion", "withdraw", "half", "--reason", "sold out", says="HALF is withdrawn")
    lent = hilltop(
        "equipment", "lend", "fir", "SN-1", "--name", "Router", "--value", "80.00", says="lent: SN-1"
    )
    assert "SN-1" in hilltop("equipment", "list") and "loan_" in lent
    hilltop("equipment", "lend", "fir", "SN-1", "--name", "Router", says="exists: SN-1")
    hilltop("equipment", "lend", "fir", "SN-2", "--name", "Router", "--value", "much", code=2, says="--value")
    hilltop("equipment", "return", "SN-1", says="returned: back on")
    hilltop("equipment", "return", "SN-1", code=1, says="nothing was lent under")
    hilltop("equipment", "settle", says="0 settled")
    assert "SN-1" in hilltop("equipment", "list", "--account", "A-1")
    hilltop("subscription", "contracts", "A-1", says="Contracts of A-1: none")
