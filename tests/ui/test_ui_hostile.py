"""Hostile text is only ever text: on every page, in every attribute, in every file."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_ui_security import declared_routes
from ui_client import Browser, Panels, open_panel
from ui_poison import BRANCHES, PAYLOADS, Text, harmless, hostile, poison
from ui_world import Provider

import ui
from billing.set_up import open_account
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from core.spreadsheet import neutralised
from ui.web.render import in_words, mailto

TURNS = len(PAYLOADS) // BRANCHES
_NOT_BY_TEXT = {"/metrics", "/sign-in", "/healthz", "/favicon.ico"}


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes: what text must never change."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(f"{tag} {' '.join(sorted(name for name, _ in attrs))}")
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "action", "hx-get"}]

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.elements.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.elements.append("declaration")


def skeleton(text: str) -> Skeleton:
    parsed = Skeleton()
    parsed.feed(text)
    parsed.close()
    return parsed


async def pages(panel: Panels, browser: Browser) -> dict[str, str]:
    """Every page there is: those of the menu, and of each thing they link to."""
    found: dict[str, str] = {}
    waiting = [path for method, path, _ in declared_routes(panel) if method == "GET" and "{" not in path]
    waiting = [path for path in waiting if path not in _NOT_BY_TEXT]
    while waiting:
        path = waiting.pop(0)
        page = await browser.get(path)
        assert page.status == 200, (path, page.text[:300])
        found[path] = page.text
        for link in re.findall(
            r'href="(/[a-z-]+/[a-z]+_[a-z0-9]+(?:/(?:edit|change|usage|next-invoice|lines/2))?)"', page.text
        ):
            if link not in found and link not in waiting:
                waiting.append(link)
    return found


@pytest.fixture
async def panel_over(valley: Provider, sealer: Sealer, wrist_watch: FakeClock) -> AsyncIterator[Panels]:
    async with open_panel(valley.workplace, sealer, wrist_watch) as browser:
        yield Panels(valley.workplace, browser)


async def poisoned(panel: Panels, browser: Browser, text: Text) -> dict[str, str]:
    await poison(panel.workplace, text)
    return await pages(panel, browser)


@pytest.mark.slow
async def test_no_text_changes_a_page(panel_over: Panels) -> None:
    browser = await panel_over.as_("owner")
    plain = {
        path: skeleton(text).elements
        for path, text in (await poisoned(panel_over, browser, harmless)).items()
    }
    for turn in range(TURNS):
        bad = await poisoned(panel_over, browser, hostile(turn))
        assert len(bad) > 100
        assert set(bad) == set(plain)
        for path, text in bad.items():
            shown = skeleton(text)
            changed = Counter(shown.elements)
            changed.subtract(plain[path])  # lists are sorted by text: their order may differ
            if path in {
                "/",
                "/live",
            }:  # they show eight towers of ten, by name: other ones had no contact yet
                changed["time datetime title"] = changed["/time"] = 0
            assert not any(changed.values()), (turn, path, +changed, -changed)
            for link in shown.links:
                assert re.match(r"/(?!/)|#|mailto:[^?&#]*$|tel:|\?", link) or link == "", (turn, path, link)


async def test_no_export_holds_a_formula(panel_over: Panels) -> None:
    browser = await panel_over.as_("owner")
    checked, files = 0, set[str]()
    for turn in range(TURNS):
        await poison(panel_over.workplace, hostile(turn))
        for text in (await pages(panel_over, browser)).values() if turn == 0 else ():
            files.update(re.findall(r'class="csv" href="([^"]+)" download', text))
        for path in sorted(files):
            answer = await browser.get(path.replace("&amp;", "&"))
            assert answer.headers["Content-Type"].startswith("text/csv"), path
            rows = list(csv.reader(io.StringIO(answer.text)))
            assert len({len(row) for row in rows}) == 1, path  # no text breaks out of its cell
            for cell in (cell for row in rows for cell in row):
                assert neutralised(cell) == cell or re.fullmatch(r"-[\d.]+", cell), (path, cell)
                checked += 1
    assert checked > 5_000


def test_the_payloads_are_many() -> None:
    assert len(set(PAYLOADS)) == 40
    assert len(PAYLOADS) == TURNS * BRANCHES


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1+1", "'=1+1"), ("+1 970", "'+1 970"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("  =1", "'  =1"), ("＝1", "'＝1"), ("\ufeff=1", "'\ufeff=1"),
        ("\u200b\u202e@x", "'\u200b\u202e@x"), (" \t=1", "' \t=1"), ("plain", "plain"), ("a=1", "a=1"), ("", ""),
    ],
)  # fmt: skip
def test_formula_cells_are_neutralised(text: str, safe: str) -> None:
    assert neutralised(text) == safe


async def test_amounts_in_exports_stay_numbers(panel: Panels) -> None:
    async with panel.workplace.work("system:test") as work:
        granted(await open_account(work, name='=HYPERLINK("http://evil.example","x")', city="@town"))
    browser = await panel.as_("viewer")
    [row] = csv.DictReader(io.StringIO((await browser.get("/subscribers?format=csv")).text))
    assert row["name"].startswith("'=")
    assert row["city"].startswith("'@")
    assert row["open"] == "0.00"


def test_no_attribute_is_given_a_word_that_is_markup() -> None:
    """An instant is shown as an element of its own: inside of an attribute its quotes end it."""
    templates = list((Path(ui.__file__).parent / "templates").rglob("*.html"))
    assert len(templates) > 20
    found = [
        (path.name, hit) for path in templates
        for hit in re.findall(r'="[^"]*\{\{[^}]*\|\s*(?:when|ago)\b', path.read_text())
    ]  # fmt: skip
    assert found == []


async def test_what_is_searched_for_is_echoed_as_text(panel: Panels) -> None:
    browser = await panel.as_("owner")
    for text in PAYLOADS:
        echoed = (await browser.ask("GET", "/subscribers", params={"q": text})).text
        nothing = (await browser.ask("GET", "/subscribers", params={"q": "nobody"})).text
        assert skeleton(echoed).elements == skeleton(nothing).elements, text


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("quail-rb: ValueError: bad octet 0x3f", "quail-rb: a fault of this software; the log says more"),
        ("unexpected KeyError: 'acc_1'\nTraceback", "a fault of this software; the log says more"),
        (
            "the login broke off (SSHException)",
            "the login broke off",
        ),
        ("no SSH session: 10.0.0.1 port 22 refused the connection",) * 2,
        ("failure: already have such entry",) * 2,
        ("Error reading disk",) * 2,
    ],
)
def test_names_of_exceptions_are_for_the_log(stored: str, shown: str) -> None:
    assert in_words(stored) == shown


def test_an_address_in_a_link_starts_no_header() -> None:
    assert mailto("ada+bills@example.com") == "ada+bills@example.com"
    assert mailto("a?bcc=evil&body=x#@example.com") == "a%3Fbcc%3Devil%26body%3Dx%23@example.com"
