"""``hilltop settings set``: whatever is typed, the file stays one that can be used, and whole."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance_machine import NOBODY, Machine
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from appliance.command_line import app
from appliance.settings import load_settings
from appliance.settings_file import EditError, all_keys, change_settings, find_key, read_value

TEXT = """\
# The first line.
[state]
directory = "{0}/state"          # where it lies
runtime = "{0}/run"

[radius]
auth_listen = ["0.0.0.0:1812"]   # for NASes

# About the panel.
[ui]
time_zone = "UTC"                # of the panel
provider_name = 'Old name'
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that was set up, so that changes go on record."""
    one = Machine(tmp_path_factory.mktemp("settings"))
    one.runtime.mkdir()
    one.config.write_text(TEXT.format(one.folder))
    one.hilltop("init")
    return one


@pytest.fixture
def machine(made: Machine) -> Iterator[Machine]:
    made.config.write_text(TEXT.format(made.folder))
    made.config.chmod(0o640)
    yield made
    shutil.rmtree(made.runtime / "asks", ignore_errors=True)


def _kept(machine: Machine) -> bool:
    return machine.config.read_text() == TEXT.format(machine.folder)


def test_one_line_is_changed_and_all_else_stays(machine: Machine) -> None:
    said = machine.hilltop("settings", "set", "ui.time_zone", "America/Denver").stdout
    assert 'ui.time_zone = "America/Denver"' in said and "systemctl restart hilltop.target" in said
    expected = TEXT.format(machine.folder).replace('"UTC"', '"America/Denver"')
    assert machine.config.read_text() == expected
    assert machine.config.with_name("hilltop.toml.before").read_text() == TEXT.format(machine.folder)
    assert machine.hilltop("settings", "get", "ui.time_zone").stdout == "America/Denver\n"
    assert 'time_zone = "America/Denver"' in machine.hilltop("settings").stdout
    assert (
        "nothing was changed" in machine.hilltop("settings", "set", "ui.time_zone", "America/Denver").stdout
    )
    assert machine.config.with_name("hilltop.toml.before").read_text() == TEXT.format(machine.folder)

    assert "the default" in machine.hilltop("settings", "unset", "ui.time_zone").stdout
    assert machine.hilltop("settings", "get", "ui.time_zone").stdout == "UTC\n"
    assert "nothing was changed" in machine.hilltop("settings", "unset", "ui.time_zone").stdout
    record = " ".join(machine.hilltop("audit").stdout.split())
    assert '"after": {"ui.time_zone": "America/Denver"}' in record and "settings.changed" in record


def test_values_are_toml_or_text_as_the_key_wants(machine: Machine) -> None:
    for key, text, value in (
        ("radius.auth_listen", '["0.0.0.0:1812", "[::]:1812"]', ["0.0.0.0:1812", "[::]:1812"]),
        ("radius.auth_listen", "[::]:1812", ["[::]:1812"]),
        ("billing.issuer.address", "[]", []),
        ("billing.issuer.name", "5", "5"),
        ("billing.issuer.name", '"quoted" name', '"quoted" name'),
        ("billing.issuer.name", r'"tab\tand é"', "tab\tand é"),
        ("billing.issuer.name", "", ""),
        ("worker.outbox_s", "1", 1),
        ("worker.outbox_s", "0.5", 0.5),
        ("snmp.retries", "3", 3),
        ("billing.returned_payment_fees", "{ nsf = { USD = 2500 } }", {"nsf": {"USD": 2500}}),
        ("billing.returned_payment_fees", "{ chargeback = { EUR = 900 } }", {"chargeback": {"EUR": 900}}),
        ("billing.entity_approval", "{}", {}),
    ):
        assert read_value(find_key(key), text) == value
        change_settings(machine.config, {key: read_value(find_key(key), text)})
        section, *rest, name = key.split(".")
        found = tomllib.loads(machine.config.read_text())[section]
        for part in rest:
            found = found[part]
        assert found[name] == value
        load_settings(machine.config)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ui.provider_nam", "x"), "did you mean ui.provider_name?"),
        (("listen", "x"), "did you mean ui.listen?"),
        (("ui", "x"), "this is a section"),
        (("", "x"), "unknown"),
        (("ui.", "x"), "unknown"),
        (("__class__.x", "x"), "unknown"),
        (("\x1b[2J" * 50, "x"), "unknown"),
        (("x" * 5000, "x"), "unknown"),
        (("ui.listen\n[radius]\nx", "1"), "unknown"),
        (("worker.outbox_s", "often"), "worker.outbox_s: this is not a number; the default is 0.2"),
        (("worker.outbox_s", "true"), "not a number"),
        (("worker.outbox_s", "inf"), "not a number"),
        (("worker.outbox_s", "nan"), "not a number"),
        (("worker.outbox_s", "0"), "greater than 0"),
        (("snmp.retries", "1.5"), "valid integer"),
        (("snmp.retries", "9" * 5000), "not a number"),
        (("snmp.retries", "1\n[ui]\nlisten = '0.0.0.0:1'"), "not a number"),
        (("snmp.retries", "[" * 9000), "not a number"),
        (("radius.auth_listen", "[1, 2]"), "write it like"),
        (("billing.returned_payment_fees", "25"), "this is not a table; write it like"),
        (("billing.returned_payment_fees", "{ oops = { USD = 1 } }"), "is not nsf, ach_return or chargeback"),
        (("billing.returned_payment_fees", "{ nsf = { USD = 1979-05-27 } }"), "refused: billing.returned_payment_fees"),
        (("billing.entity_approval", r'{ "ab\u0000" = true }'), "control character"),
        (("radius.auth_listen", "nowhere"), "not an address and port"),
        (("radius.auth_listen", "foo:1"), "not an address and port"),
        (("radius.auth_listen", '["0.0.0.0:1812", "127.0.0.1:1812"]'), "want the same port"),
        (("radius.accounting_listen", "0.0.0.0:1812"), "want the same port"),
        (("radius.dynauth_source", "foo"), "write it like 192.0.2.1"),
        (("radius.dictionary_files", "dictionary.own"), "write it like /etc/hilltop/dictionary.own"),
        (("ui.listen", "nohost.invalid:8443"), "not an address and port; write it like"),
        (("ui.listen", "::1:8443"), "not an address and port"),
        (("ui.listen", "0.0.0.0:443"), "choose a port from 1024 to 65535"),
        (("ui.listen", "0.0.0.0:99999"), "choose a port"),
        (("ui.portal_listen", "127.0.0.1:8080"), "ui.listen and ui.portal_listen"),
        (("ui.portal_listen", "0.0.0.0:8080"), "want the same port"),
        (("ui.portal_url", "javascript:alert(1)"), "write it like http://"),
        (("ui.portal_url", "http://"), "write it like http://"),
        (("ui.portal_url", "http://user:hush@portal.example/"), "write it like http://"),
        (("ui.portal_url", "http://portal.example/\nx"), "write it like http://"),
        (("ui.locale", "xx_QQ"), "write it like en_US"),
        (("ui.locale", "../../etc/x"), "write it like en_US"),
        (("billing.locale", "zz"), "write it like en_US"),
        (("billing.clock_leap_days", "99999999999"), "less than or equal to 3650"),
        (("worker.billing_s", "1e300"), "less than or equal to 86400"),
        (("clock.source", "sytem"), "write system, or lab:/path"),
        (("radius.auth_listen", r'["0.0.0.0:1\u0000"]'), "control character"),
        (("ui.provider_name", "x" * 10_001), "shorter"),
        (("ui.provider_name", "\x1b[2J"), "control character"),
        (("ui.provider_name", "\udcff"), "not UTF-8"),
        (("ui.time_zone", "Denver"), "write it like America/Denver"),
        (("ui.tls_cert", "/some/file"), "set both or neither"),
        (("log.level", "loud"), 'the default is "info"'),
        (("database.url", "mysql://h/x"), "write it like postgresql://"),
        (("database.url", "sqlite:////no/such/folder/x"), "no folder that can be written"),
        (("database.url", "postgresql://u@127.0.0.1:1/x"), "does not answer"),
        (("database.url", "postgresql://u@127.0.0.1:1/x?sslmod=1"), "option after the ? is unknown"),
        (("database.url", "postgresql://u@127.0.0.1:1/x?ssl=perhaps"), "refused: database.url"),
        (("database.url", "postgresql://u@127.0.0.1:1/x?prepared_statement_cache_size=many"), "refused: database.url"),
        (("database.url", "postgresql://u@127.0.0.1:99999/x"), "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_nothing_is_written(
    machine: Machine, words: tuple[str, str], says: str
) -> None:
    before = machine.config.stat().st_ino
    done = CliRunner().invoke(app, ["-c", str(machine.config), "settings", "set", *words])
    refused = done.output
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert says in refused and "\x1b" not in refused and len(refused) < 600
    assert _kept(machine) and machine.config.stat().st_ino == before


def test_usage_that_is_unclear_is_explained(machine: Machine) -> None:
    def set_(*words: str) -> str:
        return machine.hilltop("settings", "set", *words, code=2).stderr

    assert "give a VALUE" in set_("ui.provider_name")
    assert "put quotes around it" in set_("ui.provider_name", "Ridge", "Wireless")
    assert "twice" in set_("ui.locale", "de_DE", "ui.locale", "en_US")
    assert "no VALUE" in set_("ui.locale", "de_DE", "--value-file", "-")
    assert _kept(machine)


def test_keys_that_belong_together_are_set_and_unset_together(machine: Machine) -> None:
    machine.hilltop("settings", "set", "ui.tls_cert", "/c", "ui.tls_key", "/k")
    assert "both or neither" in machine.hilltop("settings", "unset", "ui.tls_key", code=1).stderr
    machine.hilltop("settings", "unset", "ui.tls_key", "ui.tls_cert")
    assert load_settings(machine.config).ui.tls_cert is None


def test_a_password_is_neither_typed_openly_nor_shown_nor_on_record(machine: Machine) -> None:
    for url in (
        "postgresql://u:hush@127.0.0.1:1/x",
        "postgresql:///x?password=hush",
        "hush@ nonsense",
        "postgresql://u:hush",
    ):
        refused = machine.hilltop("settings", "set", "database.url", url, code=2)
        assert "--value-file -" in refused.stderr and "hush" not in refused.stdout + refused.stderr
    url = "postgresql://u:hush@127.0.0.1:1/x"
    away = machine.hilltop("settings", "set", "database.url", "--value-file", "-", code=1, stdin=url)
    assert "does not answer" in away.stderr and "hush" not in away.stderr and _kept(machine)

    # As somebody wrote it with an editor; the way back is on record where that is possible, without the secret.
    machine.config.write_text(f'{machine.config.read_text()}\n[database]\nurl = "{url}?password=hush"\n')
    assert "hush" not in machine.hilltop("settings", "get", "database.url").stdout
    said = machine.hilltop("settings", "unset", "database.url")
    assert "not on record" in said.stdout and "hush" not in said.stdout + said.stderr
    other = f"sqlite:///{machine.folder}/other.sqlite"
    assert (
        "other.sqlite"
        not in machine.hilltop("settings", "set", "database.url", other).stdout.split("wrote")[0]
    )
    machine.hilltop("settings", "unset", "database.url")
    record = machine.hilltop("audit").stdout
    assert '{"keys": ["database.url"], "before": {}, "after": {}}' in record
    assert "hush" not in record and "other.sqlite" not in record


def test_a_misplaced_secret_is_taken_out_without_going_on_record(machine: Machine) -> None:
    machine.config.write_text(
        f'{machine.config.read_text()}\n[databse]\nurl = "hush-one"\n[databsee]\npassword = "hush-two"\n'
        '[log]\npassword = "hush-three"\n[log.level]\nsecret = "hush-four"\n'
    )
    machine.hilltop("settings", "unset", "databse.url", "databse", "databsee", "log.password", "log.level")
    load_settings(machine.config)
    record = machine.hilltop("audit").stdout
    assert "log.password" in record and "hush" not in record


def test_a_wrong_file_is_put_right_key_by_key_and_never_made_worse(machine: Machine) -> None:
    machine.config.write_text(
        f"{machine.config.read_text()}\n[worker]\noutbox_s = -1\nold_key = 1\n[gone]\nx = 1\n"
    )
    assert machine.hilltop("settings", code=2).stderr.count("\n") == 3
    assert "worker.outbox_s" in machine.hilltop("settings", "set", "ui.locale", "de_DE", code=1).stderr
    assert "still wrong: worker.old_key" in machine.hilltop("settings", "set", "worker.outbox_s", "1").stdout
    machine.hilltop("settings", "unset", "worker.old_key", "gone")
    load_settings(machine.config)
    machine.config.write_text("[ui\n")
    assert "is not TOML" in machine.hilltop("settings", "set", "ui.locale", "de_DE", code=2).stderr
    machine.config.write_text(f"x = {'[' * 5000}")
    assert "is not TOML" in machine.hilltop("settings", "set", "ui.locale", "de_DE", code=2).stderr
    machine.config.write_text("ui = 5\n")
    assert "no section" in machine.hilltop("settings", "set", "ui.locale", "de_DE", code=1).stderr
    machine.config.unlink()
    assert "make one with" in machine.hilltop("settings", "set", "ui.locale", "de_DE", code=2).stderr


@pytest.mark.parametrize(
    "text",
    [
        "", "# alone", 'ui.locale = "x"\n', 'ui = {locale = "x"}\n', '[ui]\nlocale="x"\n[log]\n[radius]\n',
        "[billing.issuer]\nname = 'x'\n[ui]\r\n", '"ui"."locale" = "x"', "[ ui ]\n\n\n\n# end\n",
        "[ui]\nlocale = '''\nx'''\n[billing]\nissuer = {name = 'y'}", "billing.issuer.name = 'z'\n",
    ],
)  # fmt: skip
def test_every_way_to_write_toml_can_be_changed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hilltop.toml"
    file.write_bytes(text.encode())
    for key, value in (("ui.locale", "de_DE"), ("billing.issuer.name", "N"), ("billing.locale", "fr_FR")):
        change_settings(file, {key: value})
    found = load_settings(file)
    assert (found.ui.locale, found.billing.issuer.name, found.billing.locale) == ("de_DE", "N", "fr_FR")
    for comment in ("# alone", "# end"):
        assert comment not in text or comment in file.read_text()
    change_settings(file, dict.fromkeys(("ui.locale", "billing.issuer.name", "billing.locale")))
    assert load_settings(file).ui.locale == "en_US"


@given(name=st.sampled_from(sorted(all_keys())), text=st.text(max_size=60))
def test_whatever_is_given_it_is_refused_or_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text("# c\n[ui]\nlocale = 'nl' # d\n")
    try:
        value = read_value(find_key(name), text)
        changed = change_settings(file, {name: value})
    except EditError:
        assert file.read_text() == "# c\n[ui]\nlocale = 'nl' # d\n"
    else:
        assert changed is not None
        load_settings(file)
        assert "# c\n" in file.read_text() and "# d\n" in file.read_text()


def test_owner_and_mode_stay_also_of_the_copy(machine: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    machine.config.chmod(0o604)
    os.chown(machine.config, 0, NOBODY)
    machine.hilltop("settings", "set", "ui.locale", "de_DE")
    for file in (machine.config, machine.config.with_name("hilltop.toml.before")):
        found = file.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, NOBODY, 0o604)
    os.chown(machine.config, 0, 0)


def test_who_may_not_write_is_told_and_who_may_write_the_file_alone_tears_it_not(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    folder = tmp_path / "etc"
    folder.mkdir()
    one = Machine(folder)
    one.config.write_text(TEXT.format(folder))
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    refused = one.hilltop("settings", "set", "ui.locale", "de_DE", user=NOBODY, code=1).stderr
    assert "nothing was changed; run as root" in refused and one.config.read_text() == TEXT.format(folder)
    os.chown(one.config, NOBODY, NOBODY)
    refused = one.hilltop("settings", "set", "ui.locale", "de_DE", user=NOBODY, code=1).stderr
    assert "owns it and its folder" in refused and one.config.read_text() == TEXT.format(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["hilltop.toml"]
    kept = one.config.with_name("hilltop.toml.before")  # with a place for a copy it is done in place
    kept.touch()
    os.chown(kept, NOBODY, NOBODY)
    said = one.hilltop("settings", "set", "ui.locale", "de_DE", user=NOBODY).stdout
    assert "hilltop.toml.before" in said and load_settings(one.config).ui.locale == "de_DE"
    assert kept.read_text() == TEXT.format(folder)


_KILLED = """
import os
from pathlib import Path
def cut(*given):
    os.kill(os.getpid(), 9)
{} = cut
"""


@pytest.mark.parametrize("where", ["os.fsync", "Path.replace"])
def test_killed_between_the_old_file_stands(machine: Machine, where: str) -> None:
    machine.hilltop("settings", "set", "ui.locale", "de_DE", code=-9, before=_KILLED.format(where))
    assert _kept(machine)
    machine.hilltop("settings", "set", "ui.locale", "de_DE")
    assert list(machine.folder.glob(".hilltop.toml*.new")) == []


def test_no_change_is_lost_when_several_change_at_once(machine: Machine) -> None:
    wanted = {"ui.locale": "de_DE", "log.level": "debug", "snmp.retries": 7, "billing.account_prefix": "Z-"}
    threads = [
        threading.Thread(target=change_settings, args=(machine.config, {k: v})) for k, v in wanted.items()
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = load_settings(machine.config)
    assert (found.ui.locale, found.log.level, found.snmp.retries, found.billing.account_prefix) == tuple(
        wanted.values()
    )


def test_on_the_appliance_the_services_restart_when_asked_and_its_places_stay(machine: Machine) -> None:
    assert "systemctl restart hilltop.target" in machine.hilltop("restart", code=1).stderr
    asks = machine.runtime / "asks"
    asks.mkdir()
    for key in ("state.directory", "state.runtime", "clock.source"):
        assert "stays as it is" in machine.hilltop("settings", "set", key, "/elsewhere", code=1).stderr
    assert "stays as it is" in machine.hilltop("settings", "unset", "state.directory", code=1).stderr
    assert "by: hilltop restart" in machine.hilltop("settings", "set", "ui.locale", "de_DE").stdout

    def grant(*, fails: bool) -> None:
        deadline = time.monotonic() + 30
        while not (asks / "restart-services").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if fails:
            (asks / "restart-services").rename(asks / "restart-services.failed")
        else:
            (asks / "restart-services").unlink()

    for fails, code, says in ((True, 1, "could not do it"), (False, 0, "The services restart")):
        system = threading.Thread(target=grant, kwargs={"fails": fails})
        system.start()
        done = machine.hilltop("restart", code=code)
        system.join()
        assert says in done.stdout + done.stderr
    assert "services.restart" in machine.hilltop("audit").stdout
    machine.config.write_text("[ui]\nlocale = 5\n")
    machine.hilltop("restart", code=2)  # services would not start on it
    assert list(asks.iterdir()) == []


def test_the_keys_are_those_that_are_shown(machine: Machine) -> None:
    shown = tomllib.loads(machine.hilltop("settings").stdout)
    for key in all_keys().values():
        if key.default is not None:
            found = shown
            for part in key.name.split("."):
                found = found[part]
            assert json.dumps(found)
