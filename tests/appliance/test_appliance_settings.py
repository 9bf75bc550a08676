"""Wrong settings are named by file and key; nothing starts on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.settings import SettingsError, load_settings
from appliance.trouble import shown_url


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


@pytest.mark.parametrize(
    "password", ["p@ss:SECRETpart", "Sup@SECRETpart", "SECRETpart", "[SECRETpart", "12:34@SECRETpart/x?y"]
)
def test_an_address_that_is_read_wrongly_is_never_repeated(tmp_path: Path, password: str) -> None:
    file = tmp_path / "hilltop.toml"
    host = "" if password == "SECRETpart" else "@db/hilltop"
    file.write_text(f"[database]\nurl = 'postgresql://hilltop:{password}{host}'\n")
    if password == "[SECRETpart":  # read rightly: it is shown without it
        assert "SECRET" not in shown_url(load_settings(file))
        return
    with pytest.raises(SettingsError, match="database.url: it cannot be read; .*%40") as caught:
        load_settings(file)
    assert "SECRET" not in str(caught.value) and caught.value.__cause__ is None


def test_a_locale_is_known_without_loading_its_library() -> None:
    asked = "import sys; from core.locales import check_locale as c; c('pt_BR'); print('babel' in sys.modules); c('zh_CN')"
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make one with: hilltop --config .* init"):
        load_settings(tmp_path / "none.toml")
