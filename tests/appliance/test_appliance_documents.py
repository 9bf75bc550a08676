"""Documents and mail at the command line."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_appliance_cli import Terminal, settle


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A provider with an account that has an address, and its first invoice."""
    folder = tmp_path_factory.mktemp("documents")
    run = settle(folder, '[billing.issuer]\nname = "Mesa Net"\n')
    run("init")
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    run("account", "add", "Fir Grove", "--number", "A-1", "--email", "fir@home.test")
    run("service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n")
    run("clock", "trust")
    run("bill", "run")
    yield run


def test_the_same_invoice_is_the_same_file(hilltop: Terminal, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        hilltop("invoice", "pdf", "INV-000001", "-o", str(tmp_path / name))
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    hilltop("invoice", "bulk", "-o", str(tmp_path / "all.zip"), "--from", "2000-01-01", "--workers", "1")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read("INV-000001.pdf") == (tmp_path / "a.pdf").read_bytes()
    hilltop(
        "invoice", "bulk", "-o", str(tmp_path / "x.zip"), code=1, says="choose a bill run or days of issue"
    )


def test_statements_slips_logos_and_templates(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("statement", "A-1", "-o", str(tmp_path / "s.pdf"))
    hilltop("document", "deposit-slip", "-o", str(tmp_path / "d.pdf"))
    for name in ("s.pdf", "d.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF-")
    hilltop("statement", "A-9", "-o", str(tmp_path / "x.pdf"), code=1, says="there is no account A-9")
    (tmp_path / "logo.svg").write_text("<svg/>")
    hilltop("document", "logo", str(tmp_path / "logo.svg"), code=1, says="save it as PNG")
    source = hilltop("document", "template", "invoice.css")
    (tmp_path / "my.css").write_text(source)
    hilltop("document", "template", "invoice.css", str(tmp_path / "my.css"), says="is in force")
    (tmp_path / "bad.typ").write_text("#let sheet(doc) = [#doc.oh_no]")
    hilltop("document", "template", "invoice.typ", str(tmp_path / "bad.typ"), code=1, says="oh_no")
    hilltop("document", "template", "invoice.css", "--reset", says="built in again")


def test_mail_is_set_up_listed_and_told_of_bounces(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("mail", "server", says="nothing is sent")
    hilltop("invoice", "send", "INV-000001", says="is queued")
    listed = hilltop("mail", "list", says="no mail server is set up")
    message = next(word for word in listed.split() if word.startswith("msg_"))
    hilltop("mail", "server", "--host", "127.0.0.1", "--port", "9", "--security", "tls", "--username", "mesa",
            "--password-file", "-", "--from-address", "billing@mesa.test", stdin="goat paths\n",
            says="from Mesa Net <billing@mesa.test>")  # fmt: skip
    assert "goat" not in hilltop("mail", "server")
    hilltop("mail", "retry", message)
    hilltop("mail", "cancel", message)
    hilltop("mail", "cancel", message, code=1, says="does not wait")
    hilltop("mail", "bounce", stdin="To: x@mesa.test\n\nhello", code=1, says="is about no message of ours")
    hilltop("mail", "let-go", "fir@home.test", code=1, says="has not bounced")
    hilltop("mail", "letters", "-o", str(tmp_path), code=1, says="no letter waits")


def test_words_are_shown_set_and_reset(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("mail", "template", "show", "reminder_1", "--language", "de", says="Guten Tag")
    (tmp_path / "words").write_text("Pay, {{ name }}\n\nOr {{ due_on | day }}.\n")
    hilltop("mail", "template", "set", "reminder_1", str(tmp_path / "words"), says="Pay, Juniper Flats")
    hilltop("mail", "template", "show", "reminder_1", says="Pay, {{ name }}")
    hilltop("mail", "template", "reset", "reminder_1", says="built-in words")
    hilltop("mail", "template", "show", "nonesuch", code=1, says="there is no message")


def test_text_messages_have_a_gateway_whose_secret_is_never_shown(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("sms", "gateway", says="no text message is sent")
    (tmp_path / "auth").write_text("Bearer goat-and-fir\n")
    (tmp_path / "texts.json").write_text('{"reminder_1": "Pay {overdue}"}')
    hilltop("sms", "gateway", "https://sms.example.net/send", "--field", "phone={to}", "--field", "message={text}",
            "--auth-file", str(tmp_path / "auth"), "--texts", str(tmp_path / "texts.json"), says="phone={to}")  # fmt: skip
    hilltop(
        "sms", "gateway", "https://sms.example.net/v2", "--body", "form", says="reminder_1: Pay {overdue}"
    )
    shown = hilltop("sms", "gateway", says="https://sms.example.net/v2 (form), Authorization")
    assert "goat" not in shown
    hilltop("sms", "gateway", "https://other.example.net/", code=1, says="it was meant for another host")
    hilltop("sms", "gateway", "https://sms.example.net/", "--field", "phone", code=2, says="NAME=TEXT")
    (tmp_path / "texts.json").write_text("[]")
    hilltop("sms", "gateway", "https://sms.example.net/", "--texts", str(tmp_path / "texts.json"), code=1)
    hilltop("sms", "list", says="Text messages")
    hilltop("sms", "retry", "sms_none", code=1, says="there is no text message sms_none")
    hilltop("sms", "cancel", "sms_none", code=1, says="there is no text message sms_none")
    hilltop("sms", "remove")
    hilltop("sms", "gateway", says="no text message is sent")
