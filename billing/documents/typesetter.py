"""The typesetter: Typst in this process, with fonts looked up once and one compiler for each look.

Templates and logo of a look lie in a folder of their own that is made when the look is first printed and goes
with the process; it is all that a template can read. Content travels as JSON in ``sys.inputs`` and is never
read as Typst. Nothing rendered is kept: everything a document is made of is on record and does not change, a
reprint costs some milliseconds, and a store of rendered copies would be gigabytes a month that can disagree
with the books. The octets are the same each time for one release of Typst.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing.documents.look import EDITABLE, TEMPLATES, Look

if TYPE_CHECKING:
    import typst

_MOST_LOOKS = 8


class TemplateError(Exception):
    """A template cannot be used; the message is Typst's or Jinja's own."""


@cache
def fonts() -> typst.Fonts:
    """Looked up once: typst's own fonts, and those of the machine for scripts that they lack."""
    import typst

    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True)


class Typesetter:
    """Compilers by look; one document after the other, for a compiler serves one thread."""

    def __init__(self) -> None:
        self._compilers: OrderedDict[str, tuple[Any, Path]] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def pdf(self, look: Look, printed: Sequence[dict[str, Any]]) -> bytes:
        """One PDF of the printed documents, each beginning on a page of its own.

        Raises ``TemplateError``.
        """
        import typst

        with self._one_at_a_time:
            try:
                pdf = self._compiler(look).compile(
                    format="pdf",
                    sys_inputs={"documents": json.dumps(list(printed), ensure_ascii=False)},
                    timestamp=0,
                )
            except typst.TypstError as trouble:
                raise TemplateError(str(trouble.diagnostic or trouble.message)) from None
        if not isinstance(pdf, bytes):
            raise TypeError("typst answered with pages instead of one PDF")
        return pdf

    def _compiler(self, look: Look) -> Any:
        import typst  # 84 MB of machine code, of which 6 come into memory: only for who prints

        found = self._compilers.pop(look.digest, None)
        if found is None:
            folder = _lay_out(look)
            compiler = typst.Compiler(str(folder / "main.typ"), root=str(folder), font_paths=fonts())
            found = (compiler, folder)
        self._compilers[look.digest] = found
        while len(self._compilers) > _MOST_LOOKS:
            _, (_, old) = self._compilers.popitem(last=False)
            shutil.rmtree(old, ignore_errors=True)
        return found[0]

    def close(self) -> None:
        """Remove the folders."""
        for _, folder in self._compilers.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._compilers.clear()


def _lay_out(look: Look) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hilltop-look-"))
    shutil.copyfile(TEMPLATES / "main.typ", folder / "main.typ")
    for name in EDITABLE:
        if name.endswith(".typ"):
            (folder / name).write_text(look.source(name), encoding="utf-8")
    if look.logo is not None:
        (folder / f"logo.{look.logo.suffix}").write_bytes(look.logo.content)
    return folder


@cache
def typesetter() -> Typesetter:
    """The one of this process."""
    made = Typesetter()
    atexit.register(made.close)
    return made
