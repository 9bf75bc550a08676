"""How RouterOS prints: tables, ``terse``, ``detail``, settings, values; v6 and v7 differ in small ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lab.routeros_menus import Item, Menu, MenuSpec, format_duration

_QUOTED = frozenset(' ;="\\$')


@dataclass(frozen=True, slots=True)
class Printer:
    """Prints for one version at one instant."""

    version: tuple[int, ...]
    now: datetime

    @property
    def _new(self) -> bool:
        return self.version >= (7,)

    def values(self, item: Item, spec: MenuSpec) -> dict[str, str]:
        """The item's properties in the menu's order, times made fresh, secrets and empty ones left out."""
        values = dict(item.values)
        if item.expires_at is not None:
            values["timeout"] = format_duration(item.expires_at - self.now)
        return {
            one.name: values[one.name] for one in spec.properties if values.get(one.name) and not one.secret
        }

    def timestamp(self, instant: datetime) -> str:
        """``jan/02/2002 01:00:25`` until 7.9, ``2002-01-02 01:00:25`` since."""
        if self.version >= (7, 10):
            return f"{instant:%Y-%m-%d %H:%M:%S}"
        return f"{instant:%b/%d/%Y %H:%M:%S}".lower()

    def _flags(self, item: Item, spec: MenuSpec) -> str:
        return "".join(letter if item.flag(letter) else " " for letter, _meaning in spec.flags)

    def _flag_field(self, item: Item, spec: MenuSpec, width: int) -> str:
        return self._flags(item, spec).replace(" ", "").ljust(width)

    def legend(self, items: Sequence[Item], spec: MenuSpec) -> str | None:
        """The line that explains the flags: all of them in v6, those that occur in v7."""
        if not self._new:
            return "Flags: " + ", ".join(f"{letter} - {meaning}" for letter, meaning in spec.flags) + " "
        used = [pair for pair in spec.flags if any(item.flag(pair[0]) for item in items)]
        if not used:
            return None
        return "Flags: " + ", ".join(f"{letter} - {meaning.upper()}" for letter, meaning in used)

    def terse(self, numbered: Sequence[tuple[int, Item]], spec: MenuSpec) -> list[str]:
        """One line an item: number, flags, ``name=value`` without quotes; the comment stands first."""
        width = max(
            1, max((len(self._flags(item, spec).replace(" ", "")) for _, item in numbered), default=1)
        )
        lines = []
        for number, item in numbered:
            comment = item.values.get("comment", "")
            fields = {"comment": comment} if comment else {}
            fields |= self.values(item, spec)
            text = " ".join(f"{name}={value}" for name, value in fields.items())
            lines.append(f"{number:>2} {self._flag_field(item, spec, width)} {text} ")
        return lines

    def detail(self, numbered: Sequence[tuple[int, Item]], spec: MenuSpec) -> list[str]:
        """A paragraph an item, values quoted where needed."""
        lines = []
        legend = self.legend([item for _, item in numbered], spec)
        lines += [legend] if legend is not None else []
        for number, item in numbered:
            head = f"{number:>2} {self._flag_field(item, spec, 2)} "
            comment = item.values.get("comment", "")
            if comment:
                lines.append(f"{head};;; {comment}")
                head = "     "
            text = " ".join(f"{name}={_quoted(value)}" for name, value in self.values(item, spec).items())
            lines += [head + text, ""]
        return lines

    def table(self, numbered: Sequence[tuple[int, Item]], spec: MenuSpec) -> list[str]:
        """Columns under a header; a comment is a line of its own above its item."""
        items = [item for _, item in numbered]
        rows = [self.values(item, spec) for item in items]
        columns = [one.name for one in spec.properties if one.column and not one.secret]
        if self._new:
            columns = [name for name in columns if any(name in row for row in rows)]
            if not rows:
                return []
        legend = self.legend(items, spec)
        lines = [legend] if legend is not None else []
        if self._new:
            lines.append("Columns: " + ", ".join(name.upper() for name in columns))
        widths = {name: max([len(name), *(len(row.get(name, "")) for row in rows)]) for name in columns}
        flag_width = max(1, max((len(self._flags(item, spec).replace(" ", "")) for item in items), default=1))
        gap = "  " if self._new else " "
        head = gap.join(name.upper().ljust(widths[name]) for name in columns)
        lines.append(f"{'#':>2} {' ' * flag_width} {head}")
        for (number, item), row in zip(numbered, rows, strict=True):
            start = f"{number:>2} {self._flag_field(item, spec, flag_width)} "
            if item.values.get("comment"):
                lines.append(f"{start};;; {item.values['comment']}")
                start = " " * len(start)
            lines.append(start + gap.join(row.get(name, "").ljust(widths[name]) for name in columns))
        return lines

    def setting(self, item: Item, spec: MenuSpec) -> list[str]:
        """A singleton: names right aligned before a colon."""
        values = self.values(item, spec)
        width = max((len(name) for name in values), default=0) + 2
        return [f"{name:>{width}}: {value}" for name, value in values.items()]

    def record(self, item: Item, spec: MenuSpec) -> dict[str, str]:
        """For ``as-value``."""
        record = {} if spec.singleton else {".id": item.id}
        if item.values.get("comment"):
            record["comment"] = item.values["comment"]
        return record | self.values(item, spec)

    def export(self, menu: Menu, sensitive: bool) -> list[str]:
        """The ``add`` or ``set`` lines that would make the menu again."""
        items = [item for item in menu if not item.dynamic]
        if "export" not in menu.spec.verbs or not items:
            return []
        return [
            f"/{' '.join(menu.spec.path)}",
            *(_export_line(item, menu.spec, sensitive) for item in items),
        ]


def _export_line(item: Item, spec: MenuSpec, sensitive: bool) -> str:
    words = {}
    for one in spec.properties:
        if not one.read_only and item.values.get(one.name) and (sensitive or not one.secret):
            words[one.name] = item.values[one.name]
    if item.values.get("comment"):
        words["comment"] = item.values["comment"]
    if item.disabled:
        words["disabled"] = "yes"
    verb = "set" if spec.singleton else "add"
    return " ".join([verb, *(f"{name}={_quoted(words[name])}" for name in sorted(words))])


def _quoted(value: str) -> str:
    if value and not set(value) & _QUOTED:
        return value
    for plain in ("\\", '"', "$"):
        value = value.replace(plain, f"\\{plain}")
    return f'"{value}"'
