"""What programs may ask of a service's sign-ins, and the window for a CPE swap."""

from __future__ import annotations

from datetime import timedelta

from aaa.bind_cpe import CpeRecord
from aaa.set_up import close_replacement, open_replacement
from core.refusal import Refusal, Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.read import services
from ui.read.sign_ins import LoginConditions, sign_ins_of

operations = Operations()
_USER = Parameter("user", "User name, MAC, static address or id of the service.", in_path=True, required=True)
_LOGIN = Parameter("login", "Which of its logins, where several could be meant.")
_SWAPPED = ("pppoe", "circuit", "port")


@operations.get(
    "/services/{user}/sign-ins", "The logins of a service: the CPEs they are bound to, open swaps, ports.",
    shapes.record(logins=shapes.listed(shapes.of(LoginConditions)), cpes=shapes.listed(shapes.of(CpeRecord))),
    _USER,
)  # fmt: skip
async def sign_ins(ask: Ask) -> Answer:
    """As they stand, and the CPEs there were."""
    async with ask.panel.workplace.reading() as connection:
        service_id = await services.find_service(connection, ask.text("user"))
        if service_id is None:
            raise _nobody(ask)
        view = await sign_ins_of(connection, service_id)
    return {"logins": view.logins, "cpes": view.cpes}


@operations.post(
    "/services/{user}/cpe-swap",
    "Open the window for a CPE swap: the next other CPE that signs in is bound in the place of the old one.",
    shapes.record(login=shapes.TEXT, until=shapes.INSTANT), _USER, _LOGIN,
    Parameter(
        "minutes", "How long it is open, two hours if left out.", Kind.COUNT, default=120, at_least=1,
        at_most=7 * 24 * 60,
    ),
    Parameter("old", "MAC of the one that goes, where several are bound."),
)  # fmt: skip
async def open_cpe_swap(ask: Ask) -> Answer:
    """Opened again, it is a new one."""
    async with ask.panel.workplace.work(ask.actor) as work:
        login = await _login(work, ask)
        lasts = timedelta(minutes=ask.count("minutes"))
        until = granted(await open_replacement(work, login, lasts, ask.text("old") or None))
    return {"login": login, "until": until}


@operations.post(
    "/services/{user}/cpe-swap/close", "Close the window for a CPE swap before its time.",
    shapes.record(login=shapes.TEXT), _USER, _LOGIN,
)  # fmt: skip
async def close_cpe_swap(ask: Ask) -> Answer:
    """What is bound stays bound."""
    async with ask.panel.workplace.work(ask.actor) as work:
        login = await _login(work, ask)
        granted(await close_replacement(work, login))
    return {"login": login}


async def _login(work: Work, ask: Ask) -> str:
    """The login that is meant: the one named, else the user name in the path, else the only one there is."""
    service_id = await services.find_service(work.connection, ask.text("user"))
    if service_id is None:
        raise _nobody(ask)
    view = await sign_ins_of(work.connection, service_id)
    names = [one.username for one in view.logins if one.kind in _SWAPPED]
    asked = ask.text("login") or (ask.text("user") if ask.text("user") in names else "")
    if not asked and len(names) == 1:
        return names[0]
    if asked not in names:
        there_are = ", ".join(names) or "none: a MAC login is its own CPE"
        raise Refused(
            Refusal("login.unknown", f"name one login of the service; there are {there_are}", "login")
        )
    return asked


def _nobody(ask: Ask) -> Refused:
    words = f"no service signs in as {ask.text('user')[:60]!r} or has it as id or address"
    return Refused(Refusal("service.unknown_id", words, "user"))
