"""Profiles, their rules, reply lines and previews at the panel."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from test_ui_acts import actions, rows
from test_ui_api import program
from test_ui_pages import rows_of
from ui_client import Browser, Panels
from ui_world import Provider

from aaa.store import tables as aaa


@pytest.fixture
async def network(valley_panel: Panels) -> Browser:
    return await valley_panel.as_("network")


async def test_a_profile_is_made_shown_and_changed(
    valley: Provider, valley_panel: Panels, network: Browser
) -> None:
    made = await network.submit(
        "/profiles/new", "/profiles/new", name="Farm 100", down_mbit="100", up_mbit="12.345678",
        ipv6_pool="link6", vlan="210", outer_vlan="3001", when_blocked="walled_garden", priority="2",
        min_down_mbit="5", min_up_mbit="1", stale_after_h="48", stale_action="reject",
    )  # fmt: skip
    assert made.location == "/profiles?notice=created"
    [row] = await rows(
        valley_panel, select(aaa.service_profile).where(aaa.service_profile.c.name == "Farm 100")
    )
    assert (row.rate_up_bps, row.vlan, row.when_blocked) == (12_345_678, 210, "walled_garden")
    page = await network.get(f"/profiles/{row.id}")
    for words in ("12.3457 Mbit/s", "3001", "link6", "Walled garden", "Committed", "Reject after 48 hours"):
        assert words in page.text, words
    edit = f"/profiles/{row.id}/edit"
    shown = (await network.get(edit)).form(edit)
    assert (shown["up_mbit"], shown["vlan"], shown["burst_seconds"]) == ("12.345678", "210", "")
    untouched = await network.submit(edit, edit)
    assert untouched.location == f"/profiles/{row.id}?notice=as_before"
    saved = await network.submit(edit, edit, down_mbit="150", vlan="", outer_vlan="")
    assert saved.location == f"/profiles/{row.id}?notice=redefined"
    [row] = await rows(valley_panel, select(aaa.service_profile).where(aaa.service_profile.c.id == row.id))
    assert (row.rate_down_bps, row.vlan, row.rate_up_bps) == (150_000_000, None, 12_345_678)
    for fields, words in (
        ({"vlan": "4095"}, "from 1 to 4094"), ({"outer_vlan": "7"}, "needs the inner one"),
        ({"min_down_mbit": "151"}, "above the rate"), ({"when_blocked": "shout"}, "not one of the choices"),
        ({"name": "Home 25"}, "choose another name"), ({"filter_id": "x" * 129}, "at most 128"),
    ):  # fmt: skip
        refused = await network.submit(edit, edit, **fields)
        assert refused.status == 422
        assert words in refused.text
    assert (await network.get("/profiles/prf_none")).status == 404
    viewer = await valley_panel.as_("viewer")
    assert "Save hours" not in (await viewer.get(f"/profiles/{row.id}")).text
    assert (await viewer.get(edit)).status == 403


async def test_rules_are_kept_at_the_profile(
    valley: Provider, valley_panel: Panels, network: Browser
) -> None:
    profile_id = valley.plans["home-25"][1]
    path = f"/profiles/{profile_id}"
    hours = {"name": "evening", "days": "mon-fri", "begins": "18:00", "ends": "23:00", "effect": "throttle"}
    assert (await network.submit(path, f"{path}/hours", **hours)).location == f"{path}?notice=rule"
    assert (await network.submit(path, f"{path}/hours", **hours)).location == f"{path}?notice=rule"
    quota = {"name": "cap", "gb": "1.5", "period": "week", "direction": "down", "effect": "walled_garden"}
    await network.submit(path, f"{path}/quota", **quota)
    text = (await network.get(path)).text
    assert "mon-fri 18:00 to 23:00" in text
    assert "1.50 GB of download a week" in text
    assert len(await rows(valley_panel, select(aaa.profile_rule))) == 2
    for form, fields, words in (
        ("hours", hours | {"days": "someday"}, "mon-fri"), ("hours", hours | {"ends": "noon"}, "time of day"),
        ("hours", hours | {"effect": "block"}, "pick one"), ("quota", quota | {"gb": "-1"}, "above 0"),
        ("quota", quota | {"period": "year"}, "pick one"),
    ):  # fmt: skip
        refused = await network.submit(path, f"{path}/{form}", **fields)
        assert refused.status == 422
        assert words in refused.text
    gone = await network.submit(path, f"{path}/rules/remove", rule="cap")
    assert gone.location == f"{path}?notice=rule_gone"
    unknown = await network.submit(path, f"{path}/rules/remove", rule="cap")
    assert unknown.status == 422
    assert len(await actions(valley_panel, "profile.rule")) == 2


async def test_lines_are_tried_saved_and_taken_away(
    valley: Provider, valley_panel: Panels, network: Browser
) -> None:
    profile_id, nas_id = valley.plans["home-25"][1], valley.nases[0]
    new = "/templates/edit"
    scope = {"profile_id": profile_id, "nas_id": nas_id}
    lines = (
        'Mikrotik-Rate-Limit := "{rate_up_kbit}k/{rate_down_kbit}k"\n[walled_garden]\nReply-Message := <pay>'
    )
    tried = await network.submit(new, new, **scope, lines=lines, act="preview", on_effect="walled_garden")
    assert tried.status == 200
    assert "5000k/25000k" in tried.text
    assert "&lt;pay&gt;" in tried.text
    assert b"5000k/25000k".hex() in tried.text
    assert await rows(valley_panel, select(aaa.reply_template)) == [], "a look saves nothing"
    saved = await network.submit(new, new, **scope, lines=lines)
    assert saved.location == "/templates?notice=template"
    listed = rows_of(await network.get("/templates?format=csv"))
    assert [(one["profile"], one["nas"], one["changed_by"]) for one in listed] == [
        ("Home 25", "quail-ridge-nas", "operator:network")
    ]
    page = await network.get(f"{new}?profile={profile_id}&nas={nas_id}")
    assert "{rate_up_kbit}k" in page.text
    assert "{rate_up_kbit}k" in (await network.get(f"/profiles/{profile_id}")).text
    for fields, words in (
        ({"lines": "Nonsense := 1"}, "line 1"), ({"lines": "Nonsense := 1", "act": "preview"}, "line 1"),
        ({"lines": "Filter-Id := a", "dialect": "cisco"}, "dialect already"),
        ({"lines": "x" * 4_001}, "at most 4000"), ({"lines": "-Filter-Id", "nas_id": "nas_none"}, "pick one"),
    ):  # fmt: skip
        refused = await network.submit(new, new, **(scope | fields))
        assert refused.status == 422
        assert words in refused.text, fields
    assert "not used" not in (await network.get("/templates")).text
    async with valley.workplace.work("test") as work:  # as after a dictionary file is gone
        await work.connection.execute(update(aaa.reply_template).values(lines="Gone-Attribute := 1"))
    listed_again = (await network.get("/templates")).text
    assert "not used" in listed_again
    assert "Gone-Attribute" in listed_again
    gone = await network.submit(new, new, **scope, lines="")
    assert gone.location == "/templates?notice=template_gone"
    assert await rows(valley_panel, select(aaa.reply_template)) == []
    assert (await (await valley_panel.as_("billing")).get(new)).status == 403


async def test_the_preview_shows_each_attribute_with_its_octets(
    valley: Provider, valley_panel: Panels
) -> None:
    viewer = await valley_panel.as_("viewer")
    profile_id, nas_id = valley.plans["home-100"][1], valley.nases[0]
    page = await viewer.get(f"/preview?nas={nas_id}&profile={profile_id}")
    assert page.status == 200
    for words in ("Mikrotik-Rate-Limit", "20M/100M", b"20M/100M".hex(), "dialect mikrotik", "CoA-Request"):
        assert words in page.text, words
    blocked = await viewer.get(f"/preview?nas={nas_id}&profile={profile_id}&effect=block")
    assert "Access-Reject" in blocked.text
    of_one = await viewer.get(f"/preview?nas={nas_id}&service=ada@valley.example&effect=walled_garden")
    assert "hilltop-walled" in of_one.text
    for query, words in (
        (f"nas={nas_id}", "choose a profile"), (f"nas={nas_id}&service=nobody", "nobody signs in"),
        (f"nas=nas_none&profile={profile_id}", "there is no NAS"),
        (f"nas={nas_id}&profile={profile_id}&effect=x", "one of the effects"),
    ):  # fmt: skip
        refused = await viewer.get(f"/preview?{query}")
        assert refused.status == 422
        assert words in refused.text


async def test_prefixes_and_routes_of_a_service(
    valley: Provider, valley_panel: Panels, network: Browser
) -> None:
    service_id, other = valley.services["Ada Whitlock"], valley.services["Hester Quill"]
    change = f"/services/{service_id}/change"
    fields = {"delegated_prefix": "2001:db8:12::/48", "routes": "198.51.100.0/29\r\n2001:db8:13::/48"}
    saved = await network.submit(change, f"/services/{service_id}/addressing", **fields)
    assert saved.location == f"{change}?notice=addressing"
    text = (await network.get(change)).text
    assert "198.51.100.0/29 0.0.0.0 1" in text
    assert 'value="2001:db8:12::/48"' in text
    shown = await network.get(f"/subscribers/{valley.accounts['Ada Whitlock']}")
    assert "2001:db8:13::/48 :: 1" in shown.text
    taken = await network.submit(
        f"/services/{other}/change", f"/services/{other}/addressing", ipv6_prefix="2001:db8:12:1::/64"
    )
    assert taken.status == 422
    assert "overlaps" in taken.text
    wrong = await network.submit(change, f"/services/{service_id}/addressing", routes="over there")
    assert wrong.status == 422
    assert "is not a route" in wrong.text
    assert "over there" in wrong.text


async def test_programs_see_profiles_and_previews_too(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel)
    found = (await script.found("/profiles"))["profiles"]
    assert [one["name"] for one in found] == ["Farm 50", "Home 100", "Home 25"]
    assert found[1]["fields"]["rate_down_bps"] == 100_000_000
    seen = (await script.found("/preview?nas=quail-ridge-nas&profile=Home+100&effect=walled_garden"))[
        "preview"
    ]
    assert (seen["profile"], seen["dialect"], seen["admitted"]) == ("Home 100", "mikrotik", True)
    assert "hilltop-walled" in [one["value"] for one in seen["accept"]]
    of_one = (await script.found("/preview?nas=quail-ridge-nas&user=ada@valley.example"))["preview"]
    assert of_one["profile"] == "Home 100"
    for query, field in (("nas=none&profile=Home+100", "nas"), ("nas=quail-ridge-nas", "profile"),
                         ("nas=quail-ridge-nas&user=nobody", "user"),
                         ("nas=quail-ridge-nas&profile=Home+100&effect=x", "effect")):  # fmt: skip
        status, body = await script.ask(f"/preview?{query}")
        assert (status in (404, 422), body["error"]["field"]) == (True, field), body
