"""Wrong settings are named by file and key; nothing starts on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.settings import SettingsError, load_settings


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    file = tmp_path / "hilltop.toml"
    file.write_text("")
    settings = load_settings(file)
    assert settings.database_url == "sqlite:////var/lib/hilltop/hilltop.sqlite"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[radius]\nauth_listne = []\n", "radius.auth_listne: this key is unknown"),
        ("[worker]\noutbox_s = -1\n", "worker.outbox_s"),
        ("[log]\nlevel = 'loud'\n", "log.level"),
        ("[ui]\nlisten = 'nowhere'\n", "ui.listen"),
        ("[ui\n", "is not TOML"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "hilltop.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=named) as caught:
        load_settings(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make one with: hilltop --config .* init"):
        load_settings(tmp_path / "none.toml")
