"""Mail to subscribers against a real SMTP server in this process: words, tries, refusals, bounces, letters."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from billing_story import Town
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select, update

from appliance.reactions import REACTIONS
from billing.config import BillingSettings, IssuerSettings
from billing.delivery.act_on_messages import (
    cancel,
    let_address_go,
    reset_message_template,
    set_message_template,
    try_again,
)
from billing.delivery.bounces import note_bounce
from billing.delivery.mail_server import find_mail_server, remove_mail_server, set_mail_server
from billing.delivery.message_text import (
    MessageError,
    MessageTemplate,
    built_in,
    check_template,
    fill_in,
    sample_values,
)
from billing.delivery.print_letters import mark_printed, print_letters
from billing.delivery.queue import KINDS, queue_invoice, queue_message, queue_statement, usable_address
from billing.delivery.send_due import MailSender
from billing.delivery.signed_names import document_link, document_of, mark_of, message_of
from billing.documents.keep_look import change_look
from billing.documents.look import Look, LookTerms
from billing.documents.words import LANGUAGES, Words
from billing.store.tables import account, mail_dead_address, mail_message
from core.outbox import dispatch_due
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue

HOUSE = BillingSettings(issuer=IssuerSettings(name="High Mesa Wireless", address=["18 Mesa Road"]))
PASSWORD = "goat paths at noon"


@dataclass
class PostOffice:
    """What a mail server does with what it is given. ``answers`` are for the messages to come, in order."""

    port: int = 0
    got: list[Envelope] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    hang_up_after_data: int = 0
    sign_ins: int = 0

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith("250"):
            self.got.append(envelope)
        if self.hang_up_after_data:
            self.hang_up_after_data -= 1
            server.transport.close()
        return answer

    def sign_in(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.sign_ins += 1
        assert isinstance(data, LoginPassword)
        is_right = data.password == PASSWORD.encode()
        return AuthResult(success=is_right, handled=is_right)

    def mail(self, number: int = -1) -> Any:
        """A message that was taken, parsed."""
        return email.message_from_bytes(self.got[number].content or b"", policy=policy.default)


@asynccontextmanager
async def _serve(office: PostOffice, tls: ssl.SSLContext | None, **options: Any) -> AsyncIterator[PostOffice]:
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(office, hostname="post.test", tls_context=tls, **options), "127.0.0.1", 0
    )
    office.port = server.sockets[0].getsockname()[1]
    try:
        yield office
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of ``localhost``."""
    folder, key = tmp_path_factory.mktemp("post"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def _set_server(town: Town, sealer: Sealer, port: int, **terms: Any) -> int:
    form: dict[str, Any] = {
        "host": "localhost", "port": port, "security": "none", "from_address": "billing@mesa.test",
        "from_name": "High Mesa Wireless", "bounce_address": "bounces@mesa.test",
    }  # fmt: skip
    async with town.workplace.work("operator:test") as work:
        return granted(await set_mail_server(work, sealer, **{**form, **terms}))


async def _issues(town: Town) -> list[Any]:
    async with town.workplace.reading() as connection:
        return list(await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None))))


def _sender(town: Town, sealer: Sealer, tls: ssl.SSLContext | None = None) -> MailSender:
    return MailSender(town.workplace, sealer, HOUSE, town.meters, tls)


async def _messages(town: Town) -> list[Any]:
    async with town.workplace.reading() as connection:
        return list(await connection.execute(select(mail_message).order_by(mail_message.c.id)))


async def _tell(town: Town, source: str = "test:1", **terms: Any) -> str | None:
    """Queue the test message to an account with an address."""
    account_id = terms.pop("account_id", None) or await town.account("Ann", email="ann@home.test")
    form: dict[str, Any] = {"source": source, "account_id": account_id, "template": "test", "params": {}}
    async with town.workplace.work("system:test") as work:
        return await queue_message(work, **{**form, **terms})


# From the fact to the mailbox


async def test_an_invoice_reaches_its_reader_with_the_pdf_and_in_his_language(
    town: Town, sealer: Sealer
) -> None:
    account_id = await town.customer("Jörg Ünal", "2026-03-01", email="joerg@home.test")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(account).where(account.c.id == account_id).values(locale="de_DE")
        )
        granted(
            await change_look(
                work, HOUSE, {"pay_url": "https://pay.test/{number}", "documents_url": "https://d.test/"}
            )
        )
    async with _serve(PostOffice(), None) as office:
        await _set_server(town, sealer, office.port)
        await town.bill()
        while await dispatch_due(town.workplace, REACTIONS):
            pass
        assert await _sender(town, sealer).send_due() == 1
        assert await _sender(town, sealer).send_due() == 0
    mail, [message] = office.mail(), await _messages(town)
    assert mail["Subject"] == "Rechnung INV-000001 von High Mesa Wireless"
    assert mail["From"] == "High Mesa Wireless <billing@mesa.test>"
    assert (mail["To"], mail["Auto-Submitted"]) == ("joerg@home.test", "auto-generated")
    text = mail.get_body(("plain",)).get_content()
    assert "Guten Tag Jörg Ünal," in text
    assert "30,00\xa0$ bis 24. März 2026" in text
    assert "https://pay.test/INV-000001" in text
    link = next(one for one in text.split() if one.startswith("https://d.test/"))
    assert document_of(sealer, link.removeprefix("https://d.test/")) == message.params["invoice_id"]
    assert 'href="https://pay.test/INV-000001"' in mail.get_body(("html",)).get_content()
    [pdf] = list(mail.iter_attachments())
    assert (pdf.get_filename(), pdf.get_content()[:5]) == ("INV-000001.pdf", b"%PDF-")
    assert office.got[0].mail_from == f"bounces+{mark_of(sealer, message.id)}@mesa.test"
    assert (message.state, message.subject, message.attempts) == ("sent", mail["Subject"], 1)


async def test_a_fact_told_twice_mails_once_and_by_hand_once_more(town: Town, sealer: Sealer) -> None:
    await town.customer("Ann", "2026-03-01", email="ann@home.test")
    await town.bill()
    [invoice] = await town.invoices()
    async with town.workplace.work("system:outbox") as work:
        assert await queue_invoice(work, invoice.id) is not None
        assert await queue_invoice(work, invoice.id) is None
        assert isinstance(await queue_invoice(work, invoice.id, again=True), str)
        assert isinstance(await queue_invoice(work, "inv_none"), Refusal)
    assert len(await _messages(town)) == 2


@pytest.mark.parametrize(
    ("delivery", "address", "channels"),
    [("email", "ann@home.test", ["email"]), ("email", None, []), ("paper", "ann@home.test", ["letter"]), ("none", "ann@home.test", [])],
)  # fmt: skip
async def test_each_account_is_told_in_its_way(
    town: Town, delivery: str, address: str | None, channels: list[str]
) -> None:
    account_id = await town.customer("Ann", "2026-03-01", email=address)
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(account).where(account.c.id == account_id).values(delivery=delivery)
        )
    await town.bill()
    await town.pay(account_id, 500)
    while await dispatch_due(town.workplace, REACTIONS):
        pass
    receipts = ["email"] if channels == ["email"] else []
    assert [one.channel for one in await _messages(town)] == channels + receipts


async def test_nobody_is_mailed_without_a_server_and_old_news_not_after(town: Town, sealer: Sealer) -> None:
    await _tell(town, "old")
    assert await _sender(town, sealer).send_due() == 0
    assert [(one.state, one.reason) for one in await _messages(town)] == [
        ("queued", "no mail server is set up")
    ]
    town.clock.advance(timedelta(days=4))
    await _tell(town, "new", account_id="A-000001")
    async with _serve(PostOffice(), None) as office:
        assert await _set_server(town, sealer, office.port) == 1
        await _sender(town, sealer).send_due()
    assert [one.state for one in await _messages(town)] == ["cancelled", "sent"]
    async with town.workplace.work("operator:test") as work:
        assert await remove_mail_server(work)
        assert await find_mail_server(work.connection) is None
    await _tell(town, "newer", account_id="A-000001")
    await _sender(town, sealer).send_due()
    assert (await _messages(town))[-1].state == "queued"


# The wire


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_over_tls_with_a_sign_in(
    town: Town, sealer: Sealer, certificate: tuple[Path, Path], security: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    office = PostOffice()
    options: dict[str, Any] = {"authenticator": office.sign_in, "auth_required": True}
    if security == "starttls":
        options["require_starttls"] = True
        serving = _serve(office, context, **options)
    else:
        serving = _serve_tls(office, context, auth_require_tls=False, **options)
    await _tell(town)
    async with serving:
        await _set_server(
            town, sealer, office.port, security=security, username="mesa", password=Secret(PASSWORD)
        )
        assert await _sender(town, sealer).send_due() == 0  # its certificate is not known to the machine
        [message] = await _messages(town)
        assert "certificate" in message.reason.lower()
        town.clock.advance(timedelta(minutes=3))
        assert await _sender(town, sealer, trusting).send_due() == 1
    assert office.sign_ins == 1
    [message] = await _messages(town)
    assert (message.state, message.attempts) == ("sent", 1)


@asynccontextmanager
async def _serve_tls(office: PostOffice, tls: ssl.SSLContext, **options: Any) -> AsyncIterator[PostOffice]:
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(office, hostname="post.test", **options), "127.0.0.1", 0, ssl=tls
    )
    office.port = server.sockets[0].getsockname()[1]
    try:
        yield office
    finally:
        server.close()


async def test_a_wrong_password_holds_everything_and_costs_no_try(
    town: Town, sealer: Sealer, certificate: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    await _tell(town)
    office = PostOffice()
    async with _serve(office, context, authenticator=office.sign_in, auth_required=True):
        await _set_server(
            town, sealer, office.port, security="starttls", username="mesa", password=Secret("wrong")
        )
        sender = _sender(town, sealer, trusting)
        assert await sender.send_due() == 0
        [issue] = await _issues(town)
        assert "refuses our sign-in (535)" in issue.title
        assert "wrong" not in issue.title
        [message] = await _messages(town)
        assert (message.state, message.attempts) == ("queued", 0)
        await _set_server(
            town, sealer, office.port, security="starttls", username="mesa", password=Secret(PASSWORD)
        )
        await sender.send_due()
    assert (await _messages(town))[0].state == "sent"
    assert await _issues(town) == []


async def test_a_server_that_is_not_there_costs_no_try(
    town: Town, sealer: Sealer, unused_tcp_port: int
) -> None:
    await _tell(town)
    await _set_server(town, sealer, unused_tcp_port)
    assert await _sender(town, sealer).send_due() == 0
    [message] = await _messages(town)
    assert (message.state, message.attempts) == ("queued", 0)
    assert message.next_try_at == town.clock.now() + timedelta(minutes=2)


async def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(town: Town, sealer: Sealer) -> None:
    async with _serve(
        PostOffice(answers=["451 4.7.1 greylisted", "250 ok", "554 5.7.1 looks like spam"]), None
    ) as office:
        await _set_server(town, sealer, office.port)
        sender = _sender(town, sealer)
        await _tell(town, "one")
        assert await sender.send_due() == 1
        [message] = await _messages(town)
        assert (message.state, message.reason) == ("queued", "451 4.7.1 greylisted")
        assert message.next_try_at == town.clock.now() + timedelta(minutes=5)
        assert await sender.send_due() == 0
        town.clock.advance(timedelta(minutes=5))
        assert await sender.send_due() == 1
        await _tell(town, "two", account_id="A-000001")
        await sender.send_due()
    first, second = await _messages(town)
    assert (first.state, first.attempts) == ("sent", 2)
    assert (second.state, second.reason) == ("failed", "554 5.7.1 looks like spam")
    assert office.mail(0)["Message-ID"] == f"<{mark_of(sealer, first.id)}@mesa.test>"


async def test_after_enough_tries_a_message_is_given_up_and_can_be_tried_by_hand(
    town: Town, sealer: Sealer
) -> None:
    office = PostOffice(answers=["450 4.2.1 busy"] * 8)
    async with _serve(office, None):
        await _set_server(town, sealer, office.port)
        message_id = await _tell(town)
        sender = _sender(town, sealer)
        for _ in range(9):
            await sender.send_due()
            town.clock.advance(timedelta(days=1, seconds=1))
        [message] = await _messages(town)
        assert (message.state, message.attempts) == ("failed", 8)
        assert message.reason == "given up after 8 tries: 450 4.2.1 busy"
        assert message_id is not None
        async with town.workplace.work("operator:test") as work:
            granted(await try_again(work, message_id))
        await sender.send_due()
    assert (await _messages(town))[0].state == "sent"


async def test_an_unknown_mailbox_is_remembered_until_the_address_changes(town: Town, sealer: Sealer) -> None:
    async with _serve(PostOffice(refused={"ann@home.test": "550 5.1.1 no such user"}), None) as office:
        await _set_server(town, sealer, office.port)
        sender = _sender(town, sealer)
        await _tell(town, "one")
        await sender.send_due()
        await _tell(town, "two", account_id="A-000001")
        await sender.send_due()
        first, second = await _messages(town)
        assert (first.state, first.reason) == ("failed", "550 5.1.1 no such user")
        assert (second.state, second.attempts) == ("failed", 1)
        assert "the address bounced" in second.reason
        async with town.workplace.work("operator:test") as work:
            await work.connection.execute(update(account).values(email="ann@new.test"))
            granted(await try_again(work, second.id))
        await sender.send_due()
        assert office.got[-1].rcpt_tos == ["ann@new.test"]
        office.refused.clear()
        async with town.workplace.work("operator:test") as work:
            granted(await let_address_go(work, "Ann@Home.test"))
            assert isinstance(await let_address_go(work, "ann@home.test"), Refusal)


async def test_a_connection_lost_after_the_last_octet_sends_the_same_message_again(
    town: Town, sealer: Sealer
) -> None:
    async with _serve(PostOffice(hang_up_after_data=1), None) as office:
        await _set_server(town, sealer, office.port)
        await _tell(town)
        sender = _sender(town, sealer)
        await sender.send_due()
        [message] = await _messages(town)
        assert message.state == "queued"
        assert "it may have arrived" in message.reason
        town.clock.advance(timedelta(minutes=5))
        await sender.send_due()
    assert (await _messages(town))[0].state == "sent"
    assert len({office.mail(number)["Message-ID"] for number in range(2)}) == 1


async def test_a_message_too_large_for_the_server_is_not_even_tried(town: Town, sealer: Sealer) -> None:
    async with _serve(PostOffice(), None, data_size_limit=1000) as office:
        await _set_server(town, sealer, office.port)
        await _tell(town)
        await _sender(town, sealer).send_due()
    [message] = await _messages(town)
    assert message.state == "failed"
    assert "the mail server takes 0.0" in message.reason
    assert office.got == []


async def test_the_pace_of_the_server_is_kept(town: Town, sealer: Sealer) -> None:
    async with _serve(PostOffice(), None) as office:
        await _set_server(town, sealer, office.port, per_minute=2)
        await _tell(town, "0")
        for number in range(1, 5):
            await _tell(town, str(number), account_id="A-000001")
        sender, sent = _sender(town, sealer), []
        for _ in range(4):
            sent.append((await sender.send_due(), await sender.send_due()))
            town.clock.advance(timedelta(seconds=61))
        assert sent == [(2, 0), (2, 0), (1, 0), (0, 0)]


async def test_two_workers_send_a_message_once(any_town: Town, sealer: Sealer) -> None:
    async with _serve(PostOffice(), None) as office:
        await _set_server(any_town, sealer, office.port)
        await _tell(any_town, "0")
        for number in range(1, 6):
            await _tell(any_town, str(number), account_id="A-000001")
        tried = await asyncio.gather(*(_sender(any_town, sealer).send_due() for _ in range(2)))
    assert sum(tried) == 6
    assert len(office.got) == 6


async def test_what_waits_can_be_cancelled_and_kinds_switched_off(town: Town, sealer: Sealer) -> None:
    message_id = await _tell(town)
    assert message_id is not None
    async with town.workplace.work("operator:test") as work:
        granted(await cancel(work, message_id))
        assert isinstance(await cancel(work, message_id), Refusal)
    await _set_server(town, sealer, 25, kinds=["invoice"])
    assert await _tell(town, "off", account_id="A-000001") is None
    assert (await _messages(town))[0].state == "cancelled"


# The server's form


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        ({"host": "smtp.test; rm"}, "host"), ({"port": 0}, "port"), ({"security": "ssl3"}, "security"),
        ({"from_address": "nobody"}, "from_address"), ({"reply_to": "a@b.test\r\nBcc: x@y.test"}, "reply_to"),
        ({"bounce_address": "bounces+x@mesa.test"}, "bounce_address"), ({"per_minute": 0}, "per_minute"),
        ({"from_name": "Mesa\r\nBcc: x@y.test"}, "from_name"), ({"kinds": ["gossip"]}, "kinds"),
        ({"username": "mesa"}, "password"), ({"username": "mesa", "password": Secret("x")}, "security"),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_server_is_refused_by_field(
    town: Town, sealer: Sealer, terms: dict[str, Any], wrong: str
) -> None:
    form: dict[str, Any] = {
        "host": "smtp.test", "security": "none", "from_address": "billing@mesa.test", "from_name": "Mesa",
    }  # fmt: skip
    async with town.workplace.work("operator:test") as work:
        refused = await set_mail_server(work, sealer, **{**form, **terms})
    assert isinstance(refused, Refusal)
    assert refused.field == wrong


async def test_a_password_stays_for_its_server_and_user_alone(town: Town, sealer: Sealer) -> None:
    await _set_server(town, sealer, 587, security="tls", username="mesa", password=Secret(PASSWORD))
    await _set_server(town, sealer, 465, security="tls", username="mesa")
    async with town.workplace.reading() as connection:
        shown = await find_mail_server(connection)
    assert shown is not None
    assert shown.has_password
    assert PASSWORD not in repr(shown)
    async with town.workplace.work("operator:test") as work:
        refused = await set_mail_server(
            work,
            sealer,
            host="evil.test",
            security="tls",
            username="mesa",
            from_address="b@mesa.test",
            from_name="M",
        )
    assert isinstance(refused, Refusal)
    assert refused.field == "password"


# Words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_told_in_every_language(language: str) -> None:
    look, words = Look(HOUSE.issuer, LookTerms(), language), Words(language)
    assert built_in(language).keys() == KINDS.keys()
    for name, template in built_in(language).items():
        told = fill_in(template, look, words, sample_values(words))
        assert "{" not in told.subject + told.text, name
        assert "None" not in told.text, name
        if language != "en":
            assert told.text != fill_in(built_in("en")[name], look, words, sample_values(words)).text, name


HOSTILE = "<script>alert(1)</script> {{ 7*7 }} {% raw %} \r\nBcc: all@evil.test"


def test_values_are_never_templates_headers_or_markup() -> None:
    look, words = Look(HOUSE.issuer, LookTerms(), "en_US"), Words("en_US")
    values = {**sample_values(words), "name": HOSTILE, "number": HOSTILE}
    told = fill_in(built_in("en")["invoice"], look, words, values)
    assert "\n" not in told.subject
    assert "{{ 7*7 }}" in told.text
    assert "<script" not in told.html


@pytest.mark.parametrize(
    "body",
    [
        "{{ nobody_knows }}", "{% if %}", "{{ name.__class__.__mro__ }}", "{{ 'x' * 1000000000 }}", "{{ 9 ** 9 }}",
        "{% for one in range(10) %}{% endfor %}", "{{ name | money }}", "{{ lipsum() }}", "{{ due_on | center(999999999) }}",
    ],
)  # fmt: skip
def test_a_template_that_reaches_out_or_fails_is_refused(body: str) -> None:
    refused = check_template(MessageTemplate("Hello", body), Look(HOUSE.issuer, LookTerms(), "en_US"), "en")
    assert isinstance(refused, Refusal)
    with pytest.raises(MessageError):
        fill_in(MessageTemplate("", "body"), Look(HOUSE.issuer, LookTerms(), "en_US"), Words("en_US"), {})


async def test_the_operators_own_words_are_used_and_taken_back(town: Town, sealer: Sealer) -> None:
    async with town.workplace.work("operator:test") as work:
        own = MessageTemplate("Howdy {{ name }}", "It is {{ provider }}.", "<p>{{ name }}</p>")
        granted(await set_message_template(work, HOUSE, "test", "en", own))
        granted(await set_message_template(work, HOUSE, "reminder_3", "en", own))
        assert isinstance(
            await set_message_template(work, HOUSE, "test", "en", MessageTemplate("{{", "")), Refusal
        )
        assert isinstance(await set_message_template(work, HOUSE, "../x", "en", own), Refusal)
        assert isinstance(await set_message_template(work, HOUSE, "test", "xx", own), Refusal)
    async with _serve(PostOffice(), None) as office:
        await _set_server(town, sealer, office.port)
        await _tell(town, "1", account_id=await town.account("Ann <b>", email="ann@home.test"))
        await _tell(town, "2", account_id="A-000001", template="reminder_3")
        await _tell(town, "3", account_id="A-000001", template="reminder_9")
        await _sender(town, sealer).send_due()
    assert office.mail(0)["Subject"] == "Howdy Ann <b>"
    assert "<p>Ann &lt;b&gt;</p>" in office.mail(0).get_body(("html",)).get_content()
    *_, missing = await _messages(town)
    assert (missing.state, missing.reason[:33]) == ("failed", "there is no template reminder_9: ")
    async with town.workplace.work("operator:test") as work:
        granted(await reset_message_template(work, "test", "en"))
        assert isinstance(await reset_message_template(work, "test", "en"), Refusal)


@pytest.mark.parametrize(
    ("address", "usable"),
    [
        ("ann@home.test", True), ("a.b+c@sub.home.test", True), ("ann@localhost", True), ("", False), (None, False),
        ("ann", False), ("ann@home", False), ("ann@home.test, bob@home.test", False), ("ann@home.test\nBcc: x@y.z", False),
        ("Ann <ann@home.test>", False), ("änn@home.test", False), ("a" * 65 + "@home.test", False),
    ],
)  # fmt: skip
def test_an_address_is_one_plain_address(address: str | None, usable: bool) -> None:
    assert usable_address(address) is usable


# Bounces


def _report(to: str, status: str = "5.1.1", action: str = "failed", original: str = "") -> bytes:
    return (
        f"From: MAILER-DAEMON@far.test\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nI am sorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; far.test\r\n\r\n"
        f"Final-Recipient: rfc822; ann@home.test\r\nAction: {action}\r\nStatus: {status}\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such\r\n user here\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {original}\r\nSubject: x\r\n\r\n--b--\r\n"
    ).encode()


async def _sent_message(town: Town, sealer: Sealer) -> str:
    async with _serve(PostOffice(), None) as office:
        await _set_server(town, sealer, office.port)
        message_id = await _tell(town)
        await _sender(town, sealer).send_due()
    assert message_id is not None
    return message_id


@pytest.mark.parametrize(
    ("status", "action", "state", "is_dead"),
    [
        ("5.1.1", "failed", "bounced", True), ("5.2.2", "failed", "bounced", False),
        ("4.4.7", "failed", "bounced", False), ("4.4.1", "delayed", "sent", False), ("2.0.0", "delivered", "sent", False),
    ],
)  # fmt: skip
async def test_a_report_is_noted_once_by_its_signed_return_path(
    town: Town, sealer: Sealer, status: str, action: str, state: str, is_dead: bool
) -> None:
    message_id = await _sent_message(town, sealer)
    raw = _report(f"Bounces+{mark_of(sealer, message_id).upper()}@mesa.test", status, action)
    for _ in range(2):
        async with town.workplace.work("cli:mail") as work:
            found = granted(await note_bounce(work, sealer, raw))
        assert (found.message_id, found.address_dead) == (message_id, is_dead)
    [message] = await _messages(town)
    assert message.state == state
    if action != "delivered":
        assert "550 5.1.1 no such user here" in message.reason
    async with town.workplace.reading() as connection:
        dead = list(await connection.execute(select(mail_dead_address.c.address)))
    assert [row.address for row in dead] == (["ann@home.test"] if is_dead else [])


async def test_a_report_is_known_by_the_message_id_it_returns_too(town: Town, sealer: Sealer) -> None:
    message_id = await _sent_message(town, sealer)
    raw = _report("billing@mesa.test", original=f"<{mark_of(sealer, message_id)}@mesa.test>")
    async with town.workplace.work("cli:mail") as work:
        assert granted(await note_bounce(work, sealer, raw)).address_dead


@pytest.mark.parametrize(
    "made",
    [
        lambda mark: _report("bounces@mesa.test"), lambda mark: _report(f"bounces+{mark[:-1]}a@mesa.test"),
        lambda mark: _report(f"bounces+{mark[:-16]}{'a' * 16}@mesa.test"), lambda mark: b"", lambda mark: b"\xff\x00" * 500,
        lambda mark: f"To: bounces+{mark}@mesa.test\r\n\r\nI am on holiday.".encode(),
        lambda mark: _report(f"bounces+{mark}@mesa.test") + b"x" * (2 * 2**20),
        lambda mark: _report(f"bounces+{mark}@mesa.test", status="bad"),
    ],
)  # fmt: skip
async def test_forged_or_other_mail_changes_nothing(
    town: Town, sealer: Sealer, made: Callable[[str], bytes]
) -> None:
    message_id = await _sent_message(town, sealer)
    async with town.workplace.work("cli:mail") as work:
        assert isinstance(await note_bounce(work, sealer, made(mark_of(sealer, message_id))), Refusal)
    assert (await _messages(town))[0].state == "sent"


def test_marks_and_links_are_signed_by_this_house(sealer: Sealer) -> None:
    other = Sealer({"k1": bytes(32)})
    assert message_of(sealer, mark_of(sealer, "msg_abc123")) == "msg_abc123"
    assert message_of(other, mark_of(sealer, "msg_abc123")) is None
    link = document_link(sealer, "https://d.test/x", "inv_1")
    assert link is not None
    assert document_of(sealer, link.rpartition("/")[2]) == "inv_1"
    assert document_of(sealer, "inv_2" + link.rpartition("/")[2][5:]) is None
    assert document_of(sealer, "") is None
    assert document_link(sealer, None, "inv_1") is None


# On paper


async def test_letters_wait_are_printed_and_marked_when_they_are_out(town: Town, sealer: Sealer) -> None:
    account_id = await town.customer("Ann", "2026-03-01")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(update(account).values(delivery="paper"))
    await town.bill()
    while await dispatch_due(town.workplace, REACTIONS):
        pass
    owed = {"overdue_minor": 3000, "currency": "USD", "due_on": "2026-03-24"}
    await _tell(town, "dun", account_id=account_id, template="reminder_1", params=owed)
    async with town.workplace.work("operator:test") as work:
        granted(await queue_statement(work, "A-000001", date(2026, 3, 1), date(2026, 3, 31)))
    assert [one.channel for one in await _messages(town)] == ["letter"] * 3
    files, ids = granted(await print_letters(town.workplace, HOUSE, town.meters, sealer, date(2026, 3, 30)))
    assert [name for name, _ in files] == ["letters-1.pdf"]
    assert files[0][1].startswith(b"%PDF-")
    assert len(ids) == 3
    async with town.workplace.work("operator:test") as work:
        assert await mark_printed(work, ids) == 3
        assert await mark_printed(work, ids) == 0
    assert isinstance(
        await print_letters(town.workplace, HOUSE, town.meters, sealer, date(2026, 3, 30)), Refusal
    )
    assert {(one.state, one.reason) for one in await _messages(town)} == {("sent", "printed")}
