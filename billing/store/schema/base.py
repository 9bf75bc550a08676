"""The metadata that every table of the billing room belongs to."""

from __future__ import annotations

from core.store.columns import new_metadata

metadata = new_metadata()
