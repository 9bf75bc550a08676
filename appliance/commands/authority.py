"""Commands of the embedded certificate authority: certificates for EAP-TLS and RadSec."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.commands.running import (
    actor,
    fail,
    in_house,
    outcome_or_fail,
    read_secret,
    say,
    show,
    write_file,
)
from appliance.lookup import find
from appliance.wiring import House
from core.refusal import Refusal
from core.work import Work

if TYPE_CHECKING:
    from aaa.issue_certificate import Issued, Order

authority = typer.Typer(help="The certificate authority: EAP-TLS and RadSec.", no_args_is_help=True)
issue = typer.Typer(help="Issue a certificate.", no_args_is_help=True)
authority.add_typer(issue, name="issue")

_LARGEST_FILE = 1 << 20

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
KeyType = Annotated[str, typer.Option(help="p256, rsa2048 or rsa3072 (for devices that know no P-256).")]
Days = Annotated[int | None, typer.Option(min=1, max=3650, help="Its life in days.")]
Request = Annotated[
    Path | None, typer.Option(help="A certificate request (CSR) of the device; its key then stays there.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where to write it (-: standard output); .p12 makes PKCS#12."),
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File with the password of the PKCS#12 (-: standard input).")
]
OldDevice = Annotated[
    bool, typer.Option("--old-device", help="PKCS#12 as RouterOS 6 and old phones read it (triple DES).")
]


@authority.command("init")
def ca_init(
    name: Annotated[str, typer.Argument(help="What devices see, like 'Example Wireless CA'.")],
    key_type: KeyType = "p256",
    single: Annotated[
        bool, typer.Option("--single", help="The root signs by itself, without an issuing authority.")
    ] = False,
    crl_base: Annotated[
        str | None, typer.Option(help="Where devices fetch CRLs, like http://radius.example.net/pki.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option(help="Also issue our own certificate for this name; may be repeated.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Sign in place of the present one, which stays trusted.")
    ] = False,
    output: AsJson = False,
) -> None:
    """Make the authority, its first CRLs, and with --server our own certificate."""

    async def body(house: House) -> None:
        from aaa.issue_certificate import Order, issue_server_certificate
        from aaa.keep_certificates import keep_certificates
        from aaa.make_authority import make_authority

        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await make_authority(
                    work, house.sealer, name=name, key_type=key_type, issuing=not single, crl_base=crl_base,
                    replace=replace,
                )
            )  # fmt: skip
            await keep_certificates(work, house.sealer)
            shown = None
            if server:
                order = Order(key_type=key_type)
                shown = outcome_or_fail(
                    await issue_server_certificate(work, house.sealer, names=server, order=order)
                )
        if output:
            _say_json({"authority": made, "server": None if shown is None else shown.id})
            return
        say(f"authority {name}: {made}")
        if shown is not None:
            say(f"server certificate {shown.label}: {shown.id}, until {shown.not_after:%Y-%m-%d}")
        say("devices must trust its certificate: hilltop ca export -o ca.pem")

    in_house(body)


@authority.command("show")
def ca_show(output: AsJson = False) -> None:
    """The authorities that are trusted, with fingerprints and CRLs, and our own certificates."""

    async def body(house: House) -> None:
        from aaa.list_certificates import list_authorities, list_certificates

        async with house.workplace.reading() as connection:
            authorities = await list_authorities(connection)
            servers = await list_certificates(connection, house.clock.now(), purpose="server")
        if output:
            _say_json(
                {
                    "authorities": [asdict(one) for one in authorities],
                    "servers": [asdict(one) for one in servers],
                }
            )
            return
        show(
            "Authorities",
            ["name", "kind", "signs", "trusted", "for", "until", "CRL", "next CRL", "SHA-256", "id"],
            [
                [one.name, one.kind, one.issues, one.trusted, ", ".join(one.uses), one.not_after,
                 one.crl_number or None, one.crl_due_at, one.fingerprint, one.id]
                for one in authorities
            ],
            "none yet; make one: hilltop ca init NAME",
        )  # fmt: skip
        show(
            "Our own certificates",
            ["names", "key", "until", "serial", "id"],
            [[", ".join(one.names), one.key_type, one.not_after, one.serial, one.id] for one in servers],
            "none; issue one: hilltop ca issue server NAME",
        )

    in_house(body)


@authority.command("list")
def ca_list(
    text: Annotated[str, typer.Argument(help="Part of a name, a serial, a service.")] = "",
    purpose: Annotated[str | None, typer.Option(help="server, client or nas")] = None,
    ending: Annotated[bool, typer.Option("--ending", help="What ends within 30 days, or just did.")] = False,
    past: Annotated[bool, typer.Option("--all", help="Also revoked, replaced and ended ones.")] = False,
    output: AsJson = False,
) -> None:
    """Certificates, newest first."""

    async def body(house: House) -> None:
        from aaa.list_certificates import list_certificates

        async with house.workplace.reading() as connection:
            found = await list_certificates(
                connection, house.clock.now(), purpose=purpose, text=text, ending=ending, past=past
            )
        if output:
            _say_json([asdict(one) for one in found])
            return
        show(
            "Certificates",
            ["purpose", "for", "of", "state", "until", "serial", "id"],
            [
                [one.purpose, one.subject, one.holder, one.state, one.not_after, one.serial, one.id]
                for one in found
            ],
        )

    in_house(body)


@issue.command("server")
def issue_server(
    names: Annotated[list[str], typer.Argument(help="Host names and addresses of this server.")],
    key_type: KeyType = "p256",
    days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Our own for EAP and RadSec, in force within a second; one of P-256 and one of RSA may be in use."""

    async def act(work: Work, house: House) -> Issued | Refusal:
        from aaa.issue_certificate import Order, issue_server_certificate

        return await issue_server_certificate(
            work, house.sealer, names=names, order=Order(days=days, key_type=key_type)
        )

    _issue(act, _Handing(None, None, old=False, as_json=as_json))


@issue.command("client")
def issue_client(
    service: Annotated[str, typer.Argument(help="The service: its id, label or a user name.")],
    username: Annotated[
        str | None, typer.Option(help="Whom it signs in as; a new name becomes one of the service's.")
    ] = None,
    key_type: KeyType = "p256",
    days: Days = None,
    request: Request = None,
    output: Output = None,
    password_file: PasswordFile = None,
    old_device: OldDevice = False,
    as_json: AsJson = False,
) -> None:
    """For a subscriber's device to sign in by EAP-TLS. Its key is written once and kept nowhere here."""
    handing = _Handing(output, password_file, old=old_device, as_json=as_json)
    handing.check(request)
    order = _order(days, key_type, request)

    async def act(work: Work, house: House) -> Issued | Refusal:
        from aaa.issue_certificate import issue_client_certificate

        found = await find(work.connection, "service", service)
        return await issue_client_certificate(
            work, house.sealer, service_id=found, username=username, order=order
        )

    _issue(act, handing)


@issue.command("nas")
def issue_nas(
    nas: Annotated[str, typer.Argument(help="NAS name or id.")],
    key_type: KeyType = "p256",
    days: Days = None,
    request: Request = None,
    output: Output = None,
    password_file: PasswordFile = None,
    old_device: OldDevice = False,
    as_json: AsJson = False,
) -> None:
    """For a NAS to come by RadSec. Its key is written once and kept nowhere here."""
    handing = _Handing(output, password_file, old=old_device, as_json=as_json)
    handing.check(request)
    order = _order(days, key_type, request)

    async def act(work: Work, house: House) -> Issued | Refusal:
        from aaa.issue_certificate import issue_nas_certificate

        found = await find(work.connection, "nas", nas)
        return await issue_nas_certificate(work, house.sealer, nas_id=found, order=order)

    _issue(act, handing)


@authority.command("renew")
def ca_renew(
    certificate: Annotated[str, typer.Argument(help="Its id or serial.")],
    overlap: Annotated[
        int, typer.Option(min=0, max=365, help="Days that the one before stays good; then it is revoked.")
    ] = 30,
    key_type: Annotated[str | None, typer.Option(help="Another kind of key than before.")] = None,
    days: Days = None,
    request: Request = None,
    output: Output = None,
    password_file: PasswordFile = None,
    old_device: OldDevice = False,
    as_json: AsJson = False,
) -> None:
    """Issue another certificate to the same holder."""
    handing = _Handing(output, password_file, old=old_device, as_json=as_json)

    async def act(work: Work, house: House) -> Issued | Refusal:
        from aaa.issue_certificate import renew_certificate
        from aaa.store.certificate_rows import certificate_row

        row = await certificate_row(work.connection, certificate)
        kind = key_type or (row.key_type if row is not None else "p256")
        if row is not None and row.purpose != "server":
            handing.check(request)
        return await renew_certificate(
            work,
            house.sealer,
            certificate=certificate,
            overlap_days=overlap,
            order=_order(days, kind, request),
        )

    _issue(act, handing)


@authority.command("revoke")
def ca_revoke(
    certificate: Annotated[str, typer.Argument(help="Its id or serial.")],
    reason: Annotated[
        str,
        typer.Option(
            help="unspecified, key_compromise, affiliation_changed, superseded, cessation, "
            "privilege_withdrawn"
        ),
    ] = "unspecified",
    output: AsJson = False,
) -> None:
    """End a certificate: refused here within a second, elsewhere with the new CRL."""

    async def body(house: House) -> None:
        from aaa.revoke_certificate import revoke_certificate

        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await revoke_certificate(work, house.sealer, certificate=certificate, reason=reason)
            )
        if output:
            _say_json({"revoked": made, "reason": reason})
        else:
            say(f"certificate {made}: revoked ({reason})")

    in_house(body)


@authority.command("crl")
def ca_crl(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it, DER (-: standard output).")
    ],
    root: Annotated[
        bool, typer.Option("--root", help="The root's, not that of the authority that signs.")
    ] = False,
) -> None:
    """Write the newest CRL."""
    _write_public("root.crl" if root else "hilltop.crl", output)


@authority.command("export")
def ca_export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it (-: standard output).")],
    der: Annotated[bool, typer.Option("--der", help="As DER, the newest root alone.")] = False,
    chain: Annotated[bool, typer.Option("--chain", help="The authority that signs, and its root.")] = False,
) -> None:
    """Write the certificate that devices have to trust."""
    if der and chain:
        fail("--der and --chain: give one of them", 2)
    _write_public("ca.der" if der else "chain.pem" if chain else "ca.pem", output)


@authority.command("trust")
def ca_trust(
    name: Annotated[str, typer.Argument(help="What to call it here.")],
    file: Annotated[Path, typer.Argument(help="Its certificate, PEM or DER.")],
    clients: Annotated[bool, typer.Option("--clients", help="For subscribers' devices (EAP-TLS).")] = False,
    nases: Annotated[bool, typer.Option("--nases", help="For NASes (RadSec).")] = False,
    crl: Annotated[Path | None, typer.Option(help="Its newest CRL, PEM or DER.")] = None,
) -> None:
    """Take certificates of an outside authority too."""
    uses = [use for use, asked in (("client", clients), ("nas", nases)) if asked]
    if not uses:
        fail("say what for: --clients, --nases or both", 2)
    content, list_of_it = _read(file), None if crl is None else _read(crl)

    async def body(house: House) -> None:
        from aaa.make_authority import trust_authority

        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await trust_authority(work, name=name, certificate=content, uses=uses, crl=list_of_it)
            )
        say(f"authority {name}: {made}")

    in_house(body)


@authority.command("trust-crl")
def ca_trust_crl(
    name: Annotated[str, typer.Argument(help="The outside authority: its name or id.")],
    file: Annotated[Path, typer.Argument(help="Its newest CRL, PEM or DER.")],
) -> None:
    """Take the newest CRL of an outside authority, in place of the last."""
    content = _read(file)

    async def body(house: House) -> None:
        from aaa.make_authority import take_outside_crl

        async with house.workplace.work(actor()) as work:
            count = outcome_or_fail(await take_outside_crl(work, authority=name, crl=content))
        say(f"authority {name}: {count} revoked")

    in_house(body)


@authority.command("distrust")
def ca_distrust(name: Annotated[str, typer.Argument(help="The authority: its name or id.")]) -> None:
    """Trust an authority no more, ours or another's; whatever it issued is refused within a second."""

    async def body(house: House) -> None:
        from aaa.make_authority import distrust_authority

        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await distrust_authority(work, authority=name))
        say(f"authority {name}: trusted no more")

    in_house(body)


class _Handing:
    """How a new key and certificate are handed out, checked before anything is issued."""

    def __init__(self, output: Path | None, password_file: Path | None, *, old: bool, as_json: bool) -> None:
        self._output, self.as_json, self._old = output, as_json, old
        self._bundled = output is not None and output.suffix.lower() in {".p12", ".pfx"}
        if password_file is not None and not self._bundled:
            fail("--password-file is for PKCS#12; let --output end in .p12", 2)
        self._password = read_secret("password of the PKCS#12", password_file) if self._bundled else None

    def check(self, request: Path | None) -> None:
        """A key that is made here must go somewhere."""
        if request is None and self._output is None:
            fail("the key is kept nowhere here: say where to write it with --output FILE.pem or FILE.p12", 2)
        if request is not None and self._bundled:
            fail("with a request the key stays on its device; let --output end in .pem", 2)

    def hand(self, issued: Issued) -> None:
        """Write key, certificate and chain; keys for the owner's eyes alone."""
        if self._output is None:
            return
        if self._password is not None:
            content = issued.bundle(self._password, old=self._old)
        else:
            key = "" if issued.key is None else issued.key.reveal()
            content = (key + issued.certificate + issued.chain).encode()
        if str(self._output) == "-" or issued.key is None:
            write_file(self._output, content)
            return
        _write_private(self._output, content)


def _write_private(path: Path, content: bytes) -> None:
    from core.files import write_durably

    try:
        write_durably(path, content, 0o600)
    except OSError as trouble:
        fail(f"{path} cannot be written: {trouble.strerror}; the certificate was not issued")


def _order(days: int | None, key_type: str, request: Path | None) -> Order:
    from aaa.issue_certificate import Order

    return Order(days, key_type, None if request is None else _read(request))


def _issue(act: Callable[[Work, House], Awaitable[Issued | Refusal]], handing: _Handing) -> None:
    """Issue and hand out in one transaction: what could not be written was not issued."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            issued = outcome_or_fail(await act(work, house))
            handing.hand(issued)
        if handing.as_json:
            told = {"id": issued.id, "subject": issued.label, "not_after": issued.not_after}
            _say_json(told | {"certificate": issued.certificate, "chain": issued.chain})
            return
        say(f"certificate {issued.label}: {issued.id}, until {issued.not_after:%Y-%m-%d}")

    in_house(body)


def _write_public(name: str, output: Path) -> None:
    async def body(house: House) -> None:
        from aaa.list_certificates import public_file

        async with house.workplace.reading() as connection:
            found = await public_file(connection, name)
        if found is None:
            fail("there is no certificate authority yet; make one: hilltop ca init NAME")
        write_file(output, found[1])

    in_house(body)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as trouble:
        fail(f"{path}: {trouble.strerror}", 2)
    if len(content) > _LARGEST_FILE:
        fail(f"{path} is over {_LARGEST_FILE} octets; is it the right file?", 2)
    return content


def _say_json(told: Any) -> None:
    typer.echo(json.dumps(told, indent=2, ensure_ascii=False, default=str))
