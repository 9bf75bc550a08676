"""A logo as it may be kept and printed: a PNG, or an SVG with nothing in it that acts or fetches."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from core.refusal import Refusal

LARGEST_LOGO = 256 * 1024
_LARGEST_SIDE = 4_000
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG_NAMESPACE = "http://www.w3.org/2000/svg"
_DRAWN = {
    "svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "defs", "title", "desc",
    "linearGradient", "radialGradient", "stop", "clipPath", "mask", "symbol", "use",
}  # fmt: skip
_LOCAL = re.compile(r"^\s*(#[\w.-]+|url\(\s*['\"]?#[\w.-]+['\"]?\s*\))\s*$")


@dataclass(frozen=True, slots=True)
class Logo:
    """A checked logo. ``suffix`` is png or svg."""

    media_type: str
    content: bytes

    @property
    def suffix(self) -> str:
        return "png" if self.media_type == "image/png" else "svg"


def check_logo(content: bytes) -> Logo | Refusal:
    """The logo, or why it is not taken."""
    if len(content) > LARGEST_LOGO:
        return _no("large", f"has {len(content) // 1024} kB: use at most {LARGEST_LOGO // 1024}")
    if content.startswith(_PNG):
        return _check_png(content)
    return _check_svg(content)


def _no(code: str, message: str) -> Refusal:
    return Refusal(f"logo.{code}", message, "logo")


def _check_png(content: bytes) -> Logo | Refusal:
    """The first chunk is IHDR with width and height (PNG, third edition, 11.2.1), the last IEND."""
    if content[12:16] != b"IHDR" or len(content) < 57 or content[-8:-4] != b"IEND":
        return _no("damaged", "is a damaged PNG: save it again")
    width, height = struct.unpack(">II", content[16:24])
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        return _no("wide", f"has {width} by {height} dots: use at most {_LARGEST_SIDE} a side")
    return Logo("image/png", content)


def _check_svg(content: bytes) -> Logo | Refusal:
    """Shapes alone: what could run, style from elsewhere, fetch or hold text is refused, not mended."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if b"<?" in content.removeprefix(b"<?"):
        return _no("svg", "has instructions for a program in it: save it as PNG")
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, UnicodeDecodeError):
        return _no("unknown", "is neither a PNG nor an SVG that can be read: save it as PNG")
    if root.tag != f"{{{_SVG_NAMESPACE}}}svg":
        return _no("unknown", "is neither a PNG nor an SVG: save it as PNG")
    for element in root.iter():
        name = str(element.tag).removeprefix(f"{{{_SVG_NAMESPACE}}}")
        if name not in _DRAWN:
            return _no("svg", f"has <{name[:40]}> in it: keep to shapes, or save it as PNG")
        for key, value in element.attrib.items():
            refusal = _check_attribute(key.rpartition("}")[2].lower(), value)
            if refusal is not None:
                return refusal
    return Logo("image/svg+xml", content)


def _check_attribute(name: str, value: str) -> Refusal | None:
    if name.startswith("on"):
        return _no("svg", f"has the script {name[:40]} in it: save it as PNG")
    lowered = value.lower()
    if name == "href" and not _LOCAL.match(value):
        return _no("svg", "refers to something outside of itself: save it as PNG")
    if ("url(" in lowered or "javascript:" in lowered) and not (
        _LOCAL.match(value) or (name == "style" and not re.search(r"url\(\s*['\"]?(?!#)", lowered))
    ):
        return _no("svg", "refers to something outside of itself: save it as PNG")
    if name == "style" and ("@import" in lowered or "expression(" in lowered):
        return _no("svg", "has a style that fetches: save it as PNG")
    return None
