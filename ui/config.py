"""The panel's slice of the settings."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.endpoints import check_distinct, split_endpoint
from core.locales import check_locale


class UiSettings(BaseModel):
    """Section ``[ui]``. What is listened on is ``address:port``; an IPv6 address stands in brackets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = "127.0.0.1:8080"
    portal_listen: str | None = None  # plain HTTP for walled-garden subscribers; none: no portal listener
    portal_url: str | None = None  # where strayed requests are sent; none: the portal page itself answers
    tls_cert: Path | None = None
    tls_key: Path | None = None
    public_url: str | None = None  # where customers and gateways reach this panel; none: as they asked for it
    provider_name: str = "Your internet provider"  # shown on the portal page
    provider_phone: str | None = None
    provider_email: str | None = None
    time_zone: str = "UTC"  # in which the panel shows instants
    locale: str = "en_US"  # how amounts and dates are written
    metrics_allow: list[str] = []
    """Addresses and prefixes that may read ``/metrics``; without these and a token the page is off."""
    metrics_token_file: Path | None = None  # holds the bearer token of the scraper, 16 characters or more
    api_requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)  # of one token
    idle_minutes: int = Field(default=15, ge=1, le=24 * 60)
    longest_hours: int = Field(default=12, ge=1, le=24 * 7)

    @field_validator("listen", "portal_listen")
    @classmethod
    def _an_endpoint(cls, value: str | None) -> str | None:
        if value is not None:
            split_endpoint(value)
        return value

    @field_validator("metrics_allow")
    @classmethod
    def _networks(cls, allowed: list[str]) -> list[str]:
        for one in allowed:
            try:
                ip_network(one)
            except ValueError:
                raise ValueError(
                    f"{one!r} is not an address or prefix; write it like 192.0.2.9 or 192.0.2.0/24"
                ) from None
        return allowed

    @field_validator("portal_url", "public_url")
    @classmethod
    def _a_page(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_page = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            is_page = False
        if not is_page or "@" in parts.netloc or not value.isascii() or any(one <= " " for one in value):
            raise ValueError("this is no page for a browser; write it like http://portal.example.net/")
        return value

    @field_validator("locale")
    @classmethod
    def _a_locale(cls, value: str) -> str:
        return check_locale(value)

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone; write it like America/Denver")
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> UiSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("ui.tls_cert and ui.tls_key belong together: set both or neither")
        if self.portal_listen is not None:
            check_distinct("ui.listen and ui.portal_listen", [self.listen, self.portal_listen])
        return self

    @property
    def tls(self) -> bool:
        """True when the panel itself speaks TLS."""
        return self.tls_cert is not None
