"""Dunning policies: the ladder editor, dated versions, and which class of accounts has which."""

from __future__ import annotations

from datetime import UTC, date

from aiohttp import web

from billing.dunning.define_policy import assign_class, change_policy_terms, define_dunning_policy
from billing.store import dunning_policy_rows
from core.refusal import Refusal
from ui.permissions import Permission
from ui.policy_form import APPROVED, NEW_POLICY, RESTORE, form_of, read_terms
from ui.read import dunning
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/dunning/policies"


@routes.get(WHERE, Permission.LOOK)
async def policies(visit: Visit) -> web.StreamResponse:
    """All policies, and the classes they are for."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        rows = await dunning.policy_rows(connection, _today(visit))
        classes = await dunning_policy_rows.class_policies(connection)
    if visit.wants_csv:
        return csv_file("dunning-policies", dunning.PolicyRow, rows)
    names = {one.id: one.name for one in rows}
    return visit.page(
        "dunning_policies.html", policies=rows, form=form, status=status,
        names=[(one, one) for one in names.values()],
        classes=[(one, policy_id, names[policy_id]) for one, policy_id in sorted(classes.items())],
    )  # fmt: skip


@routes.post(WHERE + "/classes", Permission.MONEY)
async def assign(visit: Visit) -> web.StreamResponse:
    """Give a class of accounts its policy, or none."""
    form = await visit.form()
    account_class = form.text("account_class", longest=40)
    chosen = form.optional("class_policy", longest=80)
    if form.ok:
        done = await visit.attempt(
            form, lambda work: assign_class(work, account_class=account_class, dunning_policy=chosen)
        )
        if not isinstance(done, Refusal):
            return visit.see(WHERE, "saved")
    return await _list_page(visit, form, status=422)


@routes.get(WHERE + "/new", Permission.MONEY)
async def new_policy(visit: Visit) -> web.StreamResponse:
    """The form for a policy."""
    stands = {"ladder": "3 reminded email:reminder_1\n10 restricted\n15 suspended email:suspension_notice"}
    return _form_page(visit, Form({**NEW_POLICY, **stands, "currency": visit.panel.billing.currency}))


@routes.post(WHERE + "/new", Permission.MONEY)
async def create_policy(visit: Visit) -> web.StreamResponse:
    """A new policy."""
    form = await visit.form()
    name, terms = form.text("name", longest=80), read_terms(form)
    if form.ok:
        made = await visit.attempt(form, lambda work: define_dunning_policy(work, name=name, **terms))
        if not isinstance(made, Refusal):
            return visit.see(f"{WHERE}/{made}", "created")
    return _form_page(visit, form, status=422)


@routes.get(WHERE + "/{policy_id}", Permission.LOOK)
async def policy(visit: Visit) -> web.StreamResponse:
    """What stands, every version, and the form for the next one."""
    return await _policy_page(visit, None)


async def _policy_page(visit: Visit, form: Form | None, status: int = 200) -> web.StreamResponse:
    policy_id, today = visit.path("policy_id"), _today(visit)
    async with visit.reading() as connection:
        name = (await dunning_policy_rows.names(connection)).get(policy_id)
        if name is None:
            raise missing()
        versions = await dunning_policy_rows.versions(connection, policy_id)
        rows = await dunning.versions_of(connection, policy_id)
    newest = max(versions, key=lambda one: one.version)
    shown = form or Form({**form_of(newest.policy), "valid_from": max(today, newest.valid_from).isoformat()})
    return visit.page(
        "dunning_policy.html", policy_id=policy_id, name=name, versions=rows, form=shown, restore=RESTORE,
        approved=APPROVED, status=status,
    )  # fmt: skip


@routes.post(WHERE + "/{policy_id}", Permission.MONEY)
async def change_policy(visit: Visit) -> web.StreamResponse:
    """Other terms from a day on; what was decided stays decided."""
    form, policy_id = await visit.form(), visit.path("policy_id")
    valid_from, terms = form.optional_date("valid_from"), read_terms(form)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: change_policy_terms(work, policy=policy_id, terms=terms, valid_from=valid_from),
        )
        if not isinstance(done, Refusal):
            return visit.see(f"{WHERE}/{policy_id}", "saved")
    return await _policy_page(visit, form, status=422)


def _form_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    return visit.page("dunning_policy_new.html", form=form, restore=RESTORE, approved=APPROVED, status=status)


def _today(visit: Visit) -> date:
    return visit.panel.workplace.clock.now().astimezone(UTC).date()
