"""Try templates before they are used: in a process of its own with bounds, for a template may never end."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

from billing.config import IssuerSettings
from billing.documents.logo import Logo
from billing.documents.look import Look, LookTerms
from core.refusal import Refusal

_LONGEST_S = 20
_MOST_MEMORY = 2 * 2**30
_REFUSED = 3


async def try_look(look: Look, name: str = "invoice.typ", currency: str = "USD") -> bytes | Refusal:
    """Every kind of document in this look; the sample for template ``name`` as PDF (HTML for its own).

    The refusal carries Typst's or Jinja's own words.
    """
    asked = json.dumps(
        {
            "issuer": look.issuer.model_dump(mode="json"), "terms": look.terms.model_dump(mode="json"),
            "locale": look.locale, "templates": dict(look.templates), "name": name, "currency": currency,
            "logo": None if look.logo is None
            else [look.logo.media_type, base64.b64encode(look.logo.content).decode()],
        }
    )  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "billing.documents.try_look",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LONGEST_S + 10):
            made, said = await child.communicate(asked.encode())
    except TimeoutError:
        return Refusal("template.endless", f"does not end within {_LONGEST_S} seconds", "source")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == 0:
        return made
    if child.returncode == _REFUSED:
        return Refusal("template.wrong", said.decode(errors="replace")[-3000:].strip(), "source")
    return Refusal(
        "template.endless", f"needs more than {_LONGEST_S} seconds or {_MOST_MEMORY >> 30} GiB", "source"
    )


def _render(asked: Mapping[str, Any]) -> bytes:
    from billing.documents.render import printed_html
    from billing.documents.sample import sample_documents
    from billing.documents.typesetter import typesetter

    logo = asked["logo"] and Logo(asked["logo"][0], base64.b64decode(asked["logo"][1]))
    look = Look(
        IssuerSettings.model_validate(asked["issuer"]), LookTerms.model_validate(asked["terms"]),
        asked["locale"], logo, asked["templates"],
    )  # fmt: skip
    documents = sample_documents(look, asked["currency"])
    html = printed_html(look, documents["invoice.typ"], fall_back=False)
    typesetter().pdf(look, list(documents.values()))
    if asked["name"].startswith("invoice.html") or asked["name"].endswith(".css"):
        return html.encode()
    return typesetter().pdf(look, [documents.get(asked["name"], documents["invoice.typ"])])


def main() -> int:
    """Read a look from standard input and write its sample to standard output."""
    from billing.documents.typesetter import TemplateError

    resource.setrlimit(resource.RLIMIT_CPU, (_LONGEST_S, _LONGEST_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        made = _render(json.load(sys.stdin))
    except TemplateError as trouble:
        sys.stderr.write(str(trouble))
        return _REFUSED
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
