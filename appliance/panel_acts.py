"""The use cases over several rooms that the panel asks for."""

from __future__ import annotations

from appliance.add_subscriber import add_service
from appliance.change_service import change_plan, end_line
from appliance.import_subscribers import import_subscribers
from core.secrets import Sealer
from ui.ports import CrossRoomActs


def panel_acts(sealer: Sealer) -> CrossRoomActs:
    """Import, selling, changing and ending services, with this house's seal."""
    return CrossRoomActs(
        import_subscribers=lambda work, text: import_subscribers(work, sealer, text),
        add_service=lambda work, account_id, new: add_service(work, sealer, account_id, new),
        change_plan=change_plan,
        end_line=end_line,
    )
