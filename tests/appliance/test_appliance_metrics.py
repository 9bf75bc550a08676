"""Figures for Prometheus: read back by its own parser, let in by token or address, right after real requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from appliance_running import SECRET, Appliance, appliance, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import insert

from aaa.define_pool import define_pool
from aaa.lease_addresses import Grant, record_grants
from aaa.store.tables import lockout, session
from appliance.wiring import open_house
from core.health import HealthIssue, open_issue
from core.refusal import granted
from core.secrets import Secret
from radius.probing.probe import ProbeTarget, probe
from radius.serving.latency import BOUNDS_S, WakeUpLatency

TOKEN = "a token of sixteen characters or more"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Appliance]:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "token").write_text(f"{TOKEN}\n")
    more = f'metrics_token_file = "{folder}/token"\nmetrics_allow = ["127.0.0.2/32"]\n'
    async with appliance(folder, more=more) as one:
        settings = one.config.read_text()
        one.config.write_text(
            settings.replace("[radius]\n", "[radius]\nworkers = 2\nstatus_interval_s = 0.2\n")
        )
        await one.start("radius", "web", "collector")
        await until(one.signs_in, "RADIUS answers")
        await until(lambda: _answers(one), "the panel answers")
        yield one


def _url(one: Appliance) -> str:
    return f"http://{one.settings.ui.listen}/metrics"


async def _get(one: Appliance, token: str | None = TOKEN, accept: str = "") -> tuple[int, str, str]:
    headers = {"Accept": accept} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    async with ClientSession() as client, client.get(_url(one), headers=headers) as answer:
        return answer.status, await answer.text(), answer.headers["Content-Type"]


async def _answers(one: Appliance) -> Any:
    try:
        return await _get(one)
    except OSError:
        return None


async def _samples(one: Appliance, kind: Any = parse, accept: str = "") -> dict[tuple[str, ...], float]:
    """By name and label values in the order of the labels' names; those of several workers added up."""
    status, text, _ = await _get(one, accept=accept)
    assert status == 200, text
    added: dict[tuple[str, ...], float] = {}
    for family in kind(text):
        for sample in family.samples:
            labels = [sample.labels[name] for name in sorted(sample.labels) if name != "worker"]
            key = (sample.name, *labels)
            added[key] = added.get(key, 0) + sample.value
    return added


async def _eventually(one: Appliance, key: tuple[str, ...], least: float) -> dict[tuple[str, ...], float]:
    async def look() -> Any:
        samples = await _samples(one)
        return samples if samples.get(key, -1) >= least else None

    return await until(look, f"{key} of {least}")  # type: ignore[no-any-return]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_radius_counted_is_there_for_each_worker_and_nas(running: Appliance) -> None:
    target = ProbeTarget("127.0.0.1", running.auth_port, SECRET)
    before = await _eventually(running, ("hilltop_radius_events_total", "accepts"), 1)
    assert not (await probe(target, "fir", Secret("wrong"), timeout_s=3.0)).accepted
    await probe(
        ProbeTarget("127.0.0.1", running.auth_port, Secret("another secret")),
        "fir",
        Secret("x"),
        timeout_s=0.2,
    )
    for _ in range(3):
        assert await running.signs_in()
    rejects = ("hilltop_radius_events_total", "rejects")
    samples = await _eventually(running, rejects, before[rejects] + 1)
    accepts = ("hilltop_radius_events_total", "accepts")
    samples = await _eventually(running, accepts, before[accepts] + 3)
    await _eventually(running, ("hilltop_radius_nas_requests_total", "loop", "right"), 4)
    samples = await _eventually(running, ("hilltop_radius_nas_requests_total", "loop", "wrong"), 1)
    assert samples["hilltop_radius_directory_logins",] == 2, "one login, known to each of two workers"
    assert samples["hilltop_radius_directory_nases",] == 2
    assert samples["hilltop_radius_directory_age_seconds",] < 20
    assert samples["hilltop_radius_directory_from_snapshot",] == 0
    assert samples["hilltop_radius_ingest_lag_records", "radius"] == 0
    count = samples["hilltop_radius_wakeup_seconds_count",]
    assert count == samples["hilltop_radius_wakeup_seconds_bucket", "+Inf"] >= 5
    assert samples["hilltop_database_up",] == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_database_counts_is_there(running: Appliance) -> None:
    async with open_house(running.settings) as house, house.workplace.work("test") as work:
        now = work.now
        await work.connection.execute(
            insert(session).values(
                id="ses_1", key="k1", nas_id="nas_1", acct_session_id="1", username="fir", started_at=now,
                last_event_at=now, last_received_at=now,
            )
        )  # fmt: skip
        await work.connection.execute(
            insert(lockout).values(
                nas_id="nas_1", identity="fir", calling_station="", failures=9, since=now,
                until=now + timedelta(hours=1),
            )
        )  # fmt: skip
        await open_issue(work, HealthIssue("test", "critical", "a test", "none"))
        pool_id = granted(await define_pool(work, name="homes", kind="ipv4", ranges=["10.60.0.0/24"]))
        await record_grants(work, [Grant("10.60.0.7", pool_id, "svc_1", None, "nas_1", now)])
    samples = await _samples(running)
    assert samples["hilltop_sessions_online",] == 1
    assert samples["hilltop_services", "active"] == 1
    assert samples["hilltop_pool_size", "homes"] == 254
    assert samples["hilltop_pool_addresses", "homes", "kept"] == 1
    assert samples["hilltop_logins_held_back",] == 1
    assert samples["hilltop_health_issues", "critical"] >= 1
    assert samples["hilltop_enforcement_tasks", "parked"] == 0
    assert ("hilltop_outbox_facts",) in samples


@pytest.mark.asyncio(loop_scope="module")
async def test_both_formats_are_read_by_the_library_and_names_keep_the_rules(running: Appliance) -> None:
    await _eventually(running, ("hilltop_radius_events_total", "accepts"), 1)
    _, text, kind = await _get(running)
    assert kind.startswith("text/plain")
    _, open_text, open_kind = await _get(running, accept="application/openmetrics-text; version=1.0.0")
    assert open_kind.startswith("application/openmetrics-text")
    families = list(parse(text))
    assert len(families) == len(list(parse_openmetrics(open_text))) > 20
    for one in families:
        assert one.name.startswith("hilltop_"), one.name
        assert one.documentation, one.name
        assert not one.name.endswith(("_ms", "_minutes", "_count")), one.name
        if one.type == "counter":
            assert all(sample.name.endswith("_total") for sample in one.samples)


@pytest.mark.asyncio(loop_scope="module")
async def test_only_the_token_or_the_address_opens_the_page(running: Appliance) -> None:
    assert (await _get(running))[0] == 200
    for token in (None, "", "another token of sixteen characters", TOKEN[:-1]):
        status, text, _ = await _get(running, token)
        assert status == 403, token
        assert "hilltop_" not in text
    running.folder.joinpath("token").write_text("short\n")
    assert (await _get(running, "short"))[0] == 403, "a token that can be guessed opens nothing"
    running.folder.joinpath("token").write_text("a new token, read at the next scrape")
    assert (await _get(running, "a new token, read at the next scrape"))[0] == 200
    running.folder.joinpath("token").write_text(TOKEN)


async def test_the_page_is_off_until_somebody_is_let_in(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one:
        await one.start("web")

        status, text, _ = await until(lambda: _answers(one), "the panel answers")
        assert status == 404
        assert "hilltop_" not in text


def test_the_buckets_hold_what_was_noted() -> None:
    latency = WakeUpLatency()
    for seconds in (0.0001, 0.00011, 0.3, 0.25, 9.0):
        latency.note(seconds)
    assert sum(latency.counts) == 5
    assert latency.counts[0] == 1
    assert latency.counts[1] == 1
    assert latency.counts[len(BOUNDS_S) - 1] == 1
    assert latency.counts[-1] == 2
    assert latency.total_s == pytest.approx(9.55021)
