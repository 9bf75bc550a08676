"""Give a profile rules, and take them away. What they do, ``aaa.apply_rules`` does."""

from __future__ import annotations

from aaa.domain.profile_rule import MOST_RULES, HoursRule, Rule
from aaa.store import repositories, rule_rows
from core.refusal import Refusal
from core.work import Work


async def set_rule(work: Work, profile_id: str, rule: Rule) -> str | Refusal:
    """Add a rule to a profile, or put it in place of the one with its name; returns the rule's id."""
    await repositories.take_directory_lane(work.connection)
    if await repositories.profile_row(work.connection, profile_id) is None:
        return Refusal(
            "profile.unknown", f"there is no profile {profile_id}; look it up by its name", "profile_id"
        )
    stands = await rule_rows.rule_rows(work.connection, profile_id)
    same = next((row for row in stands if row.name == rule.name), None)
    if same is None and len(stands) >= MOST_RULES:
        return Refusal("rules.many", f"a profile has at most {MOST_RULES} rules; take one away", "name")
    if same is not None and rule_rows.as_rule(same) == rule:
        return str(same.id)
    values = rule_rows.as_values(rule)
    if same is None:
        rule_id = work.ids.new("rul")
        row = values | {"id": rule_id, "profile_id": profile_id, "created_at": work.now}
        await rule_rows.insert_rule(work.connection, row)
    else:
        rule_id = str(same.id)
        await rule_rows.update_rule(work.connection, rule_id, values)
    kind = "hours" if isinstance(rule, HoursRule) else "quota"
    await work.audit(
        "profile.rule", profile_id, name=rule.name, kind=kind, effect=rule.effect.value, says=str(rule)
    )
    return rule_id


async def remove_rule(work: Work, profile_id: str, name: str) -> Refusal | None:
    """Take a rule away; what it holds is lifted by the next turn of the worker."""
    await repositories.take_directory_lane(work.connection)
    stands = await rule_rows.rule_rows(work.connection, profile_id)
    same = next((row for row in stands if row.name == name), None)
    if same is None:
        known = ", ".join(row.name for row in stands) or "none"
        return Refusal("rule.unknown", f"the profile has no rule {name!r}; it has {known}", "name")
    await rule_rows.delete_rule(work.connection, same.id)
    await work.audit("profile.rule_removed", profile_id, name=name)
    return None
