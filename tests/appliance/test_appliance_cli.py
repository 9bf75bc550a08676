"""The command line as a hostile newcomer types it: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from appliance.command_line import app
from appliance.doors import DOORS, _open

HILLTOP = [sys.executable, "-m", "appliance.cli"]
LONG_SECRET = "a-long-secret-of-the-test"


class Terminal:
    """Runs commands in this process over one settings file."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *words: str, says: str = "", code: int = 0, stdin: str | bytes = "") -> str:
        result = CliRunner(env={"COLUMNS": "250"}).invoke(
            app, ["-c", str(self.config), *words], input=stdin or None
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"hilltop {' '.join(words)}: a traceback") from result.exception
        assert result.exit_code == code, result.output
        assert says in result.output, result.output
        return result.output


def settle(folder: Path, more: str = "") -> Terminal:
    """A settings file with its state beside it."""
    config = folder / "hilltop.toml"
    config.write_text(f'[state]\ndirectory = "{folder / "state"}"\n{more}')
    return Terminal(config)


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A set-up provider with one account, one service, one invoice."""
    folder = tmp_path_factory.mktemp("cli")
    run = settle(folder)
    run("init")
    (folder / "secret").write_text(LONG_SECRET + "\n")
    secret = ("--secret-file", str(folder / "secret"))
    run("site", "add", "North Ridge")
    run("device", "add", "rb", "192.0.2.1", "--site", "North Ridge", "--driver", "routeros", "--username", "h",
        "--password-file", str(folder / "secret"))  # fmt: skip
    run("nas", "add", "ridge", "192.0.2.2", *secret, "--site", "North Ridge")
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home", "--allowance-gb", "150",
        "--tier", "30:0.20", "--tier", ":0.10")  # fmt: skip
    run("tax", "add", "State", "--percent", "7.25")
    run("account", "add", "[bold]Fir[/nope] ☃", "--number", "A-1")
    run("service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n")
    run("clock", "trust")
    run("bill", "run")
    yield run


def test_every_command_is_reached_and_explains_itself() -> None:
    for name, door in DOORS.items():
        command = _open(name, door)
        assert command.help, name
        silent = [one.name for one in command.params if not _explained(one)]
        subs = getattr(command, "commands", {})
        assert not subs or command.help == door.help
        for sub, one in subs.items():
            assert one.help, f"hilltop {name} {sub} does not say what it does"
            silent += [f"{sub} {given.name}" for given in one.params if not _explained(given)]
        assert silent == [], name


def _explained(parameter: Any) -> bool:
    return bool(getattr(parameter, "help", None)) or parameter.param_type_name == "argument"


def test_help_is_quick_because_no_room_is_entered() -> None:
    asked = "import sys; from appliance.command_line import app; app(['--help'], standalone_mode=False); "
    asked += "print(sorted({m.partition('.')[0] for m in sys.modules} & {'sqlalchemy', 'pydantic', 'aaa', 'asyncio'}))"
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
    assert "Making towers match entitlements." in run.stdout


READS = (
    "operator gear-log", "radius held", "site list", "device list", "nas list", "profile list", "snmp list", "plan list", "tax list", "account list",
    "account show A-1", "account terms A-1", "entity list", "reseller list", "sessions list", "sessions list --all --json", "dynauth list", "token list", "service sessions fir", "hold list", "enforcement list", "invoice list",
    "bill preview A-1", "bill preview", "bill preview --through 2026-12-31 --output -", "bill parked", "bill retry",
    "bill drafts", "bill drafts --rejected", "bill approve --all", "bill draft-again --rejected",
    "ledger verify", "ledger trial-balance", "ledger closes", "ledger accounts",
    "ledger schedule", "ledger journal", "ledger export journal -o -", "payment list", "dunning list", "dunning preview",
    "dunning policies", "dunning policy standard", "dunning policy standard --versions", "dunning approvals", "dunning show A-1",
    "dunning preview --on 2031-12-31", "operator list", "audit", "health", "settings", "database status",
    "enforcement preview fir", "radius explain fir", "radius explain nobody", "radius explain fir --json",
    "radius explain fir --cpe 02:00:00:00:00:01 --port ether3", "service cpes fir", "service cpes fir --json",
    "explain INV-000001 1", "invoice html INV-000001",
)  # fmt: skip


def test_every_password_is_given_up_for_hashes(tmp_path: Path) -> None:
    run = settle(tmp_path)
    run("init")
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    run("account", "add", "Fir", "--number", "A-1")
    for name in ("one", "two"):
        run("service", "add", "A-1", "--plan", "home", "--pppoe", name, "--password-file", "-", stdin="pw\n")
    given = "{NT}8846F7EAEE8FB117AD06BDD830B7586C\n"
    run("service", "add", "A-1", "--plan", "home", "--pppoe", "three", "--hash-file", "-", stdin=given)
    run("service", "hash-only", "--all", "--as", "nt", says="kept of 2")
    run("service", "hash-only", "--all", says="kept of 0")
    for name in ("one", "two", "three"):
        run("radius", "explain", name, says="nt is kept: works with PAP, MS-CHAPv1")
    run(
        "service",
        "password",
        "one",
        "--hash-file",
        "-",
        stdin="$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    )
    run("radius", "explain", "one", says="bcrypt is kept: works with PAP")


def test_a_cpe_swap_from_the_command_line(hilltop: Terminal) -> None:
    run = hilltop
    run("account", "add", "Swap", "--number", "A-9")
    run("service", "add", "A-9", "--plan", "home", "--pppoe", "swap", "--password-file", "-", stdin="pw\n")
    run("service", "add-login", "swap", "--circuit-id", "olt 1/7", "--remote-id", "0x0102", says="by circuit")
    run("service", "add-login", "swap", "--port", "ridge ether3:200.30", says="by port")
    run("service", "cpe-binding", "swap", "learn")
    run("service", "bind-cpe", "swap", "02:00:00:00:00:01")
    run("service", "replace-cpe", "swap", "--for", "2h", says="takes the place")
    shown = run("radius", "explain", "swap", "--cpe", "02:00:00:00:00:02", says="accept")
    assert "CPE 02:00:00:00:00:01" in shown
    assert "or another CPE, once" in shown
    run("service", "cpe-binding", "swap", "off")
    assert "CPE" not in run("radius", "explain", "swap"), "what is not bound has no window"
    run("service", "cpe-binding", "swap", "learn")
    run("service", "replace-cpe", "swap", "--close")
    run("radius", "explain", "swap", "--cpe", "02:00:00:00:00:02", says="other_cpe")
    run("service", "bind-port", "swap", "--nas", "ridge", "--port", "Gi0/1.100")
    run("radius", "explain", "swap", "--port", "ether3", says="other_port")
    run("service", "bind-port", "swap")
    run("service", "devices", "swap", "2", "--when-crowded", "oldest")
    run("radius", "explain", "swap", says="at most 2 online")
    run("service", "release-cpe", "swap")
    run("service", "cpes", "swap", says="released by")


@pytest.mark.parametrize("line", READS)
def test_what_only_looks_looks(hilltop: Terminal, line: str) -> None:
    assert hilltop(*line.split()).strip()


REFUSED = [
    ("site add 'North Ridge'", 1, "name"),
    ("site add ''", 1, "name"),
    ("site add x --latitude nan", 1, "latitude"),
    ("device add d 192.0.2.9 --site nowhere --driver routeros --username u --password-file SECRET", 1, "site"),
    ("device add d 192.0.2.9 --site 'North Ridge' --driver zz --username u --password-file SECRET", 1, "driver"),
    ("device add d 192.0.2.9 --site 'North Ridge' --driver routeros --username u --password-file SECRET --option x", 2, "--option"),
    ("device change rb", 2, "nothing is to be changed"),
    ("device change rb --replaced --host-key x", 2, "--host-key"),
    ("nas add n 192.0.2.2 --secret-file SECRET", 1, "network"),
    ("nas add n 192.0.2.0/33 --secret-file SECRET", 1, "network"),
    ("nas add n 192.0.2.3 --secret-file /nowhere", 2, "/nowhere"),
    ("nas add n 192.0.2.3 --secret-file /tmp", 2, "/tmp"),
    ("nas add n 192.0.2.3 --secret-file /dev/zero", 2, "right file"),
    ("nas add n 192.0.2.3 --secret-file /dev/null", 2, "empty"),
    ("nas add n 192.0.2.3", 2, "RADIUS secret"),
    ("nas change nowhere --disable", 1, "nas"),
    ("nas rotate-secret nowhere", 1, "nas"),
    ("nas rotate-secret ridge --keep-old 3x", 2, "--keep-old"),
    ("nas rotate-secret ridge --keep-old 60d", 1, "keep_old"),
    ("nas rotate-secret ridge --retire-old", 1, "nas_id"),
    ("profile change home --stale-after-h 5", 1, "stale_action"),
    ("radius let-go nobody", 1, "identity"),
    ("operator gear-give nobody --level full", 1, "nobody"),
    ("operator gear-give owner --level god", 1, "level"),
    ("operator gear-take owner", 1, "no login"),
    ("nas change ridge --dynauth-port 70000", 1, "dynauth_port"),
    ("nas change ridge --mac-preset toaster", 1, "mac_preset"),
    ("nas change ridge --mac-format odd", 1, "mac_format"),
    ("nas change ridge --mac-case Upper", 1, "mac_case"),
    ("nas change ridge --mac-sends shared", 1, "mac_shared_password"),
    ("profile add p --down 999999999999999999999999 --up 1", 2, "--down"),
    ("profile add p --down -1 --up 1", 2, "--down"),
    ("profile add p --down 1000 --up 1000 --interim 99999999999", 2, "--interim"),
    ("plan add p P --price nan --profile home", 2, "--price"),
    ("plan add p P --price 1.005 --profile home", 2, "--price"),
    ("plan add p P --price 1 --profile home --tier nan:1", 2, "--tier"),
    ("plan add p P --price 1 --profile home --tier inf:1", 2, "--tier"),
    ("plan add p P --price 1 --profile home --tier 1:nan", 2, "--tier"),
    ("plan add p P --price 1 --profile home --currency EURO", 1, "currency"),
    ("tax add t --percent nan", 2, "--percent"),
    ("tax add t --percent 1e40", 2, "--percent"),
    ("tax add t --percent 7 --valid-from 31.3.2026", 2, "--valid-from"),
    ("account add X --number A-1", 1, "number"),
    ("account add X --time-zone ../../etc/passwd", 1, "time_zone"),
    ("account add X --billing-day 32", 1, "anchor_day"),
    ("account show '[/x]'", 1, "account"),
    ("service add A-1 --plan home", 2, "--pppoe"),
    ("service add A-1 --plan home --pppoe fir", 1, "username"),
    ("service add A-1 --plan none --pppoe f2", 1, "plan"),
    ("service add A-1 --plan home --mac zz", 1, "username"),
    ("service add A-1 --plan home --pppoe f2 --ip 300.1.1.1", 1, "framed_ip"),
    ("service add A-1 --plan home --pppoe f2 --starts 9999-12-31", 2, "--starts"),
    ("service sessions fir --limit 99999999999999999999", 2, "--limit"),
    ("service change-plan fir home", 1, "plan"),
    ("service password nobody --password-file SECRET", 1, "username"),
    ("service password fir --hash-file SECRET", 1, "password_hash"),
    ("service password fir --hash-file SECRET --password-file SECRET", 2, "not both"),
    ("service hash-only fir --as md5", 1, "scheme"),
    ("service hash-only nobody", 1, "username"),
    ("service hash-only", 2, "--all"),
    ("service hash-only fir --all", 2, "--all"),
    ("service add-login fir", 2, "--circuit-id"),
    ("service add-login fir --port 'nowhere ether3'", 1, "username"),
    ("service add-login fir --circuit-id ''", 2, "--circuit-id"),
    ("service cpe-binding fir sometimes", 1, "binding"),
    ("service bind-cpe fir zz", 1, "mac"),
    ("service release-cpe fir 02:00:00:00:00:01", 1, "mac"),
    ("service replace-cpe fir --for 2x", 2, "--for"),
    ("service replace-cpe fir --for 30d", 1, "for"),
    ("service bind-port fir --nas nowhere", 1, "nas"),
    ("service devices fir 0", 1, "devices"),
    ("service devices fir --when-crowded first", 1, "when_crowded"),
    ("nas change ridge --identity face", 1, "identity"),
    ("hold place fir ''", 1, "reason"),
    ("hold place fir why --effect none", 2, "--effect"),
    ("hold place fir why --holder dunning", 2, "--holder"),
    ("hold lift fir --holder king", 2, "--holder"),
    ("enforcement preview fir --effect x", 2, "--effect"),
    ("enforcement approve nowhere", 1, "site"),
    ("radius explain fir --nas nowhere", 1, "nas"),
    ("radius status", 1, "hilltop run"),
    ("radius attributes no-such-thing", 1, "no attribute has 'no-such-thing' in its name"),
    ("radius test 127.0.0.1:99999 fir --secret-file SECRET --password-file SECRET", 2, "host:port"),
    ("radius test 127.0.0.1:9 fir --secret-file - --password-file -", 2, "standard input"),
    ("bill run --through 9999-12-31", 2, "--through"),
    ("invoice pdf INV-000001 -o /nowhere/x.pdf", 1, "/nowhere/x.pdf"),
    ("invoice pdf none -o -", 1, "number"),
    ("explain INV-000001 99999999999999999999", 1, "line"),
    ("pay A-1 0", 1, "amount_minor"),
    ("pay A-1 nan", 2, "AMOUNT"),
    ("pay A-1 1 --key ''", 1, "idempotency_key"),
    ("pay A-1 1 --method bitcoin", 1, "method"),
    ("reverse none why", 1, "payment_id"),
    ("dunning promise A-1 --until 2020-01-01", 1, "until"),
    ("dunning preview --on 9999-12-31", 2, "--on"),
    ("dunning policy nowhere", 1, "nowhere"),
    ("dunning define x /nowhere", 2, "/nowhere"),
    ("dunning class business nowhere", 1, "dunning_policy"),
    ("dunning dispute A-1 why --amount nan", 2, "--amount"),
    ("dunning settle none upheld", 1, "dispute_id"),
    ("dunning defer x why", 2, "--account"),
    ("dunning decide none perhaps", 2, "approve or decline"),
    ("dunning write-off none why", 1, "invoice"),
    ("account set A-1", 2, "say what to change"),
    ("account set A-1 --entity nowhere", 1, "entity_id"),
    ("entity add Bad Bad --invoices B- --credit-notes BC-", 1, "entity_id"),
    ("entity set nowhere --name x", 1, "entity_id"),
    ("reseller show nobody", 1, "reseller_id"),
    ("reseller terms nobody --percent x", 2, "--percent"),
    ("reseller post nobody", 1, "reseller_id"),
    ("document logo --entity nowhere", 1, "entity list"),
    ("account set A-1 --billing-day 32", 1, "anchor_day"),
    ("account set A-1 --cycle 'x weeks'", 2, "--cycle"),
    ("account set A-1 --cycle '2 moons'", 1, "cycle_unit"),
    ("account payer A-1 A-1", 1, "payer_id"),
    ("account payer A-1", 1, "payer_id"),
    ("audit --limit -1", 2, "--limit"),
    ("operator add x --role king", 1, "role"),
    ("operator disable owner", 1, "owner"),
    ("operator reset nobody", 1, "name"),
    ("import /nowhere", 2, "/nowhere"),
    ("import /tmp", 2, "/tmp"),
    ("import /dev/null", 1, "account_number"),
    ("discover --interface nosuch0 --seconds nan", 2, "--seconds"),
    ("role king", 2, "radius, collector, worker, web"),
    ("sit", 2, "site"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "names"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_what_cannot_be_done_is_refused_by_name(hilltop: Terminal, line: str, code: int, names: str) -> None:
    import shlex

    line = line.replace("SECRET", str(hilltop.config.parent / "secret"))
    said = hilltop(*shlex.split(line), code=code, says=names)
    assert LONG_SECRET not in said


def test_an_account_is_changed_and_paid_for_by_another(hilltop: Terminal) -> None:
    hilltop("account", "add", "Payer", "--number", "A-8")
    hilltop("account", "add", "Child", "--number", "A-7")
    hilltop("account", "set", "A-7", "--cycle", "2 weeks", "--class", "farm", "--locale", "de_DE",
            says="account_class, cycle_count, cycle_unit, locale")  # fmt: skip
    hilltop("account", "payer", "A-7", "A-8", says="A-8 pays")
    assert "A-7 Child" in hilltop("account", "terms", "A-8")
    hilltop("account", "payer", "A-7", says="pays itself")


def test_a_reseller_from_terms_to_payout(hilltop: Terminal) -> None:
    hilltop("reseller", "add", "shop", "Ridge Shop")
    hilltop("reseller", "terms", "shop", "--percent", "10", "--of", "invoiced", "--from", "2020-01-01")
    hilltop("account", "add", "His", "--number", "A-5")
    hilltop("reseller", "assign", "shop", "A-5", "--from", "2020-01-01")
    hilltop("reseller", "preview", "shop", says="together 0.00 USD")
    hilltop("reseller", "post", "shop", says="statement 1")
    hilltop("reseller", "post", "shop", says="exists")
    hilltop("reseller", "statement", "shop", "1", "-o", "-", says="account_number")
    hilltop("reseller", "pay", "shop", "1.00", "--key", "x", code=1, says="owed")
    hilltop("reseller", "release", "A-5")
    hilltop("reseller", "show", "shop", says="10 % of net invoiced")


def test_an_entity_is_made_and_takes_customers(hilltop: Terminal) -> None:
    hilltop("entity", "add", "east", "East Net", "--invoices", "EA-", "--credit-notes", "EAC-",
            "--address", "Main Street 1", says="invoices EA-")  # fmt: skip
    hilltop("entity", "set", "east", "--name", "East Net Ltd", says="East Net Ltd")
    hilltop("account", "add", "Easterner", "--number", "A-6", "--entity", "east")
    assert "east" in hilltop("account", "terms", "A-6")
    hilltop("document", "template", "invoice.css", "--entity", "east")


def test_a_ladder_is_taken_out_edited_and_put_back(hilltop: Terminal) -> None:
    terms = json.loads(hilltop("dunning", "policy", "standard"))
    terms["cap"] = {"accounts": 40, "percent": None}
    file = hilltop.config.parent / "terms.json"
    file.write_text(json.dumps(terms))
    hilltop("dunning", "define", "Business", str(file), says="policy Business")
    terms["write_off_days"] = 90
    file.write_text(json.dumps(terms))
    hilltop("dunning", "change", "Business", str(file))
    assert json.loads(hilltop("dunning", "policy", "Business")) == terms
    hilltop("dunning", "class", "business", "Business")
    hilltop("dunning", "assign", "A-1", "Business")
    hilltop("dunning", "immune", "A-1", "--reason", "flood")
    made = hilltop("dunning", "dispute", "A-1", "never had it").split()[-1]
    hilltop("dunning", "settle", made, "withdrawn")
    hilltop("dunning", "defer", "ticket:1", "no signal", "--account", "A-1", says="1 accounts")
    hilltop("dunning", "lift", "ticket:1", says="1 accounts")
    shown = hilltop("dunning", "show", "A-1", says="policy Business (its own)")
    assert "flood" in shown
    assert "withdrawn" in shown
    hilltop("dunning", "immune", "A-1", "--off")
    hilltop("dunning", "assign", "A-1")


def test_attributes_are_found_by_name_with_the_operators_own(hilltop: Terminal) -> None:
    said = hilltop("radius", "attributes", "cambium-epmp-userl", says="Vendor-17713-Attr-50")
    assert "Install 2, Admin 3" in said
    own = hilltop.config.parent / "dictionary.own"
    own.write_text("ATTRIBUTE Own-Colour 250 integer\nVALUE Own-Colour green 2\n")
    hilltop("settings", "set", "radius.dictionary_files", str(own))
    hilltop("radius", "attributes", "own-col", says="green 2")
    own.write_text("ATTRIBUTE Own-Colour 250 nonsense\n")
    hilltop("radius", "attributes", "own-col", code=1, says="dictionary.own line 1")
    hilltop("settings", "unset", "radius.dictionary_files")


def test_what_stands_of_a_nas_is_read_without_its_secrets(hilltop: Terminal) -> None:
    shown = hilltop("nas", "show", "ridge")
    assert "tower                 North Ridge" in shown
    assert "MAC spelling          none" in shown
    [listed] = json.loads(hilltop("nas", "list", "--json"))
    assert listed == json.loads(hilltop("nas", "show", "ridge", "--json"))
    assert (listed["name"], listed["network"], listed["enabled"]) == ("ridge", "192.0.2.2/32", True)
    assert not [name for name in listed if "secret" in name and name != "old_secret_until"]
    hilltop("nas", "show", "rigde", code=1, says="there is no NAS 'rigde'")


def test_names_are_shown_as_they_are(hilltop: Terminal) -> None:
    hilltop("account", "list", says="[bold]Fir[/nope] ☃")
    hilltop("hold", "place", "fir", "because [/red] it", "--effect", "throttle")
    hilltop("hold", "list", says="because [/red] it")
    hilltop("audit", says="because [/red] it")
    hilltop("hold", "lift", "fir")


def test_the_same_payment_twice_is_one_payment(hilltop: Terminal) -> None:
    hilltop("pay", "A-1", "1.00", "--key", "r1", says="received 1.00 USD")
    hilltop("pay", "A-1", "1.00", "--key", "r1", says="exists 1.00 USD")
    hilltop("pay", "A-1", "2.00", "--key", "r1", code=1, says="amount_minor")
    [line] = [one for one in hilltop("payment", "list").splitlines() if " r1 " in one]
    hilltop("reverse", line.split()[-1], "typing error")


def test_settings_in_force_are_toml_again_and_show_no_password(tmp_path: Path) -> None:
    run = settle(
        tmp_path, '[database]\nurl = "postgresql://u:sekret@db.example/x"\n[ui]\nprovider_name = "Ħ ☃ 🛰"\n'
    )
    said = run("settings")
    assert "sekret" not in said
    read = tomllib.loads(said)
    assert read["ui"]["provider_name"] == "Ħ ☃ 🛰"
    assert set(read) >= {"state", "database", "radius", "ui", "worker"}


# --- setting up


def test_a_set_up_that_was_cut_off_is_finished_by_the_same_command(tmp_path: Path) -> None:
    run = Terminal(tmp_path / "etc" / "hilltop.toml")
    state = tmp_path / 'st "a\\te'
    assert re.search(r"one-time password: [a-z2-9-]{10,}", run("init", "--state", str(state)))
    assert tomllib.loads(run.config.read_text())["state"]["directory"] == str(state)
    assert run("init").count("is there already") == 2
    (state / "hilltop.sqlite").unlink()
    for end in ("-wal", "-shm"):
        (state / f"hilltop.sqlite{end}").unlink(missing_ok=True)
    run("init", says="one-time password")


def test_nothing_starts_without_settings_and_the_remedy_works(tmp_path: Path) -> None:
    run = Terminal(tmp_path / "none.toml")
    said = run("site", "list", code=2, says="does not exist")
    remedy = said.rpartition("hilltop ")[2].split()
    run2 = CliRunner().invoke(app, [*remedy, "--state", str(tmp_path / "state")])
    assert run2.exit_code == 0, run2.output


def _garbage(state: Path) -> None:
    (state / "hilltop.sqlite").write_bytes(b"no database " * 500)


def _folder(state: Path) -> None:
    (state / "hilltop.sqlite").unlink()
    (state / "hilltop.sqlite").mkdir()


def _empty(state: Path) -> None:
    (state / "hilltop.sqlite").write_bytes(b"")


def _key(text: str) -> Callable[[Path], None]:
    def change(state: Path) -> None:
        (state / "keys" / "sealing.key").write_text(text)

    return change


def _no_key(state: Path) -> None:
    (state / "keys" / "sealing.key").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "names"),
    [
        (_garbage, 1, "restore it from the backup"),
        (_folder, 2, "hilltop.sqlite"),
        (_empty, 1, "hilltop database migrate"),
        (_no_key, 2, "restore it from the backup"),
        (_key(""), 2, "sealing.key"),
        (_key("k1 zz\n"), 2, "sealing.key"),
        (_key("k1 00ff\n"), 2, "sealing.key"),
    ],
)
def test_damage_is_named_with_its_remedy(
    tmp_path: Path, damage: Callable[[Path], None], code: int, names: str
) -> None:
    run = settle(tmp_path)
    run("init")
    for end in ("-wal", "-shm"):
        (tmp_path / "state" / f"hilltop.sqlite{end}").unlink(missing_ok=True)
    damage(tmp_path / "state")
    said = run("site", "list", code=code, says=names)
    assert len(said.strip().splitlines()) == 1


def test_a_key_of_another_database_is_found_out_before_anything_is_sealed_with_it(tmp_path: Path) -> None:
    run = settle(tmp_path)
    run("init")
    run("nas", "add", "n", "192.0.2.1", "--secret-file", "-", stdin=LONG_SECRET)
    key = tmp_path / "state" / "keys" / "sealing.key"
    key.write_text(f"k1 {'ab' * 32}\n")
    run("init", "--operator", "two", code=1, says=str(key))
    key.unlink()
    run("nas", "list", code=2, says="no sealing key")


@pytest.mark.parametrize(
    ("more", "code", "names"),
    [
        ('[database]\nurl = "mysql://u@h/x"\n', 2, "database.url"),
        ('[database]\nurl = "nonsense"\n', 2, "database.url"),
        ('[database]\nurl = "postgresql://u:sekret@127.0.0.1:1/x"\n', 1, "does not answer"),
        ('[database]\nurl = "postgresql://u:sekret@no.such.host.invalid/x"\n', 1, "does not answer"),
        ('[clock]\nsource = "moon"\n', 2, "clock.source"),
        ('[clock]\nsource = "lab:/nowhere"\n', 2, "/nowhere"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, more: str, code: int, names: str) -> None:
    said = settle(tmp_path, more)("init", code=code, says=names)
    assert "sekret" not in said


def test_a_state_directory_must_be_usable_and_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Terminal(tmp_path / "hilltop.toml")
    run.config.write_text(f'[state]\ndirectory = "{tmp_path}/file/sub"\n')
    run("init", code=2, says="state.directory")
    run.config.write_text('[state]\ndirectory = "sub"\n')
    run("init", code=2, says="state.directory")


@pytest.mark.postgresql
def test_a_postgresql_without_our_tables_or_without_the_database_is_named(
    tmp_path: Path, postgresql_url: str
) -> None:
    run = settle(tmp_path, f'[database]\nurl = "{postgresql_url}"\n')
    run("database", "migrate", code=2, says="no sealing key")
    run("init")
    run("account", "add", "X", "--number", "A-1")
    run("pay", "A-1", "1", "--key", "a\0b", code=1)
    for text in ("☃" * 5_000, "x" * 200):
        run("site", "add", text, code=1, says="name")
    other = settle(tmp_path, f'[database]\nurl = "{postgresql_url}gone"\n')
    other("site", "list", code=1, says="database.url")


# --- secrets


def test_a_typed_secret_is_never_echoed_and_must_be_typed_twice(tmp_path: Path) -> None:
    run = settle(tmp_path)
    run("init")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*HILLTOP, "-c", str(run.config), "nas", "add", "n", "192.0.2.7"])
    seen = b""
    for _ in range(2):
        while b": " not in seen.rpartition(b"\n")[2]:
            seen += os.read(terminal, 1024)
        os.write(terminal, LONG_SECRET.encode() + b"\n")
        seen += b"\n"
    try:
        while more := os.read(terminal, 1024):
            seen += more
    except OSError:
        pass  # the terminal hung up: the command has ended
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    assert b"NAS n:" in seen
    assert LONG_SECRET.encode() not in seen


def test_no_command_takes_a_secret_as_an_argument() -> None:
    words = re.compile(r"password|secret|community|passphrase", re.IGNORECASE)

    def parameters(command: Any, path: str) -> Iterator[str]:
        for name, one in getattr(command, "commands", {}).items():
            yield from parameters(one, f"{path} {name}")
        yield from (f"{path} {option}" for one in command.params for option in one.opts)

    found = [
        one
        for name, door in DOORS.items()
        for one in parameters(_open(name, door), name)
        if words.search(one)
    ]
    assert found
    named_so = ("service password", "nas rotate-secret")  # the command is called that, its options are not
    assert [one for one in found if not one.endswith("-file") and not one.startswith(named_so)] == []
