"""Never a secret in a transcript: the words of RouterOS and Linux, and the session's own secrets."""

from __future__ import annotations

import pem_marks
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.domain.redaction import HIDDEN, redact

KEY = f"OPENSSH {pem_marks.PRIVATE_KEY}"
SECRET = "s3cr3t-Value/9+="


@pytest.mark.parametrize(
    "line",
    [
        f'/ppp secret add name=ann password="{SECRET}" service=pppoe',
        f"add name=ann password={SECRET} profile=home",
        f"/radius add address=192.0.2.1 secret={SECRET} service=ppp",
        f"/interface wireguard add private-key={SECRET} name=wg0",
        f'/interface wireguard peers add preshared-key="{SECRET}"',
        f"set wpa-pre-shared-key={SECRET} wpa2-pre-shared-key={SECRET}",
        f'/snmp community add name=x authentication-password="{SECRET}" encryption-password={SECRET}',
        f"/ip ipsec identity add secret={SECRET}",
        f"/tool e-mail set password={SECRET}",
        f"key={SECRET}",
        f'key="{SECRET}" other=1',
        f"wpa_passphrase={SECRET}",
        f"psk={SECRET}",
        f"PASSWORD: {SECRET}",
        f"rocommunity {SECRET} 10.0.0.0/8",
        f"community={SECRET}",
        f"api_key = '{SECRET}'",
        f"Authorization: Bearer {SECRET}",
        f"curl https://ann:{SECRET}@example.net/x",
    ],
)
def test_words_that_name_secrets(line: str) -> None:
    assert SECRET not in redact(line)
    assert HIDDEN in redact(line)


def test_private_keys_and_password_hashes() -> None:
    pem = f"{pem_marks.begin(KEY)}\nb3BlbnNzaC1rZXk\nAAAA\n{pem_marks.end(KEY)}\nafter"
    assert redact(pem) == f"{HIDDEN}\nafter"
    assert redact(f"{pem_marks.begin()}\ncut off") == HIDDEN
    assert "salt" not in redact("ann:$6$saltsalt$abcdefghijk:19000:0")


def test_a_quoted_value_with_escapes_goes_whole() -> None:
    assert redact(r'password="a\"b c" name=x') == f"password={HIDDEN} name=x"


@pytest.mark.parametrize(
    "line",
    [
        '/ip/firewall/address-list/add list=hilltop-suspended address="100.64.1.7" comment="hilltop:svc_1"',
        " 0   comment=hilltop:svc_1 list=hilltop-suspended address=100.64.1.7 creation-time=2026-01-02 10:00:00",
        "failure: already have such entry",
        "sudo -n nft -j list set inet hilltop suspended4",
        '{"nftables": [{"set": {"family": "inet", "name": "suspended4", "handle": 1}}]}',
        "not enough permissions (9)",
    ],
)
def test_what_is_no_secret_stays_readable(line: str) -> None:
    assert redact(line) == line


@given(st.text(min_size=4), st.text(), st.text())
def test_the_sessions_own_secret_never_survives(secret: str, before: str, after: str) -> None:
    if secret not in HIDDEN:
        assert secret not in redact(before + secret + after, [secret]).replace(HIDDEN, "")


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)
