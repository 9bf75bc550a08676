"""The use cases over several rooms that the panel asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.apply_rules import RulesInWords
from aaa.domain.effect import Effect
from aaa.domain.reply_template import ReplyTemplate
from aaa.live_scope import ReappliedPage
from appliance.add_subscriber import add_service
from appliance.change_service import change_plan, end_line
from appliance.import_subscribers import import_subscribers
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from radius.config import RadiusSettings
from ui.ports import (
    CheckLines,
    CrossRoomActs,
    Explain,
    OrderOutcome,
    OrderSession,
    PreviewReply,
    ReapplyQuestion,
    ReapplySessions,
    ReplyAttribute,
    ReplyPreview,
    ReplyQuestion,
    SignInQuestion,
)

if TYPE_CHECKING:
    from radius.dynauth.live_session import LiveSessionOutcome


def panel_acts(
    sealer: Sealer, radius: RadiusSettings | None = None, rules: RulesInWords | None = None
) -> CrossRoomActs:
    """Import, selling, changing and ending services, orders to NASes, with this house's seal."""
    settings = radius or RadiusSettings()
    return CrossRoomActs(
        import_subscribers=lambda work, text: import_subscribers(work, sealer, text),
        add_service=lambda work, account_id, new: add_service(work, sealer, account_id, new),
        change_plan=change_plan,
        end_line=end_line,
        disconnect_session=_order(sealer, settings, "disconnect"),
        reapply_session=_order(sealer, settings, "reapply"),
        reapply_sessions=_reapply_many(sealer, settings),
        explain=_explain(sealer, settings, rules),
        preview_reply=_preview(sealer, settings),
        check_reply_lines=_check_lines(settings),
        placeholders=_placeholders,
    )


def _preview(sealer: Sealer, settings: RadiusSettings) -> PreviewReply:
    async def act(connection: AsyncConnection, asked: ReplyQuestion) -> ReplyPreview | Refusal:
        from radius.explaining.preview import PreviewQuestion, preview

        profile_id, nas_id, dialect = asked.scope
        draft = ReplyTemplate("tpl_draft", profile_id, nas_id, dialect, asked.draft or "")
        question = PreviewQuestion(
            asked.nas_id, asked.service_id, asked.profile_id, Effect(asked.effect) if asked.effect else None,
            None if asked.draft is None else draft,
        )  # fmt: skip
        found = await preview(connection, sealer, question, settings.policy, settings.dictionary_files)
        if isinstance(found, Refusal):
            return found
        accept, coa = ([ReplyAttribute(**asdict(one)) for one in some] for some in (found.accept, found.coa))
        return ReplyPreview(
            found.profile, found.nas, found.dialect, found.effect, found.admitted, accept, coa,
            found.remarks, found.troubles,
        )  # fmt: skip

    return act


def _check_lines(settings: RadiusSettings) -> CheckLines:
    def act(lines: str) -> Refusal | None:
        from radius.explaining.preview import (
            template_refusal,  # with the dictionary: only for who writes lines
        )

        return template_refusal(lines, settings.dictionary_files)

    return act


def _placeholders() -> Mapping[str, str]:
    from radius.reply.template import PLACEHOLDERS

    return PLACEHOLDERS


def _order(sealer: Sealer, settings: RadiusSettings, word: str) -> OrderSession:
    async def act(workplace: Workplace, session_id: str, actor: str) -> OrderOutcome | Refusal:
        from radius.dynauth.live_session import LiveSessions  # its client is heavy: only for who gives orders

        sessions = LiveSessions(workplace, sealer, settings)
        order = sessions.disconnect if word == "disconnect" else sessions.reapply
        found: LiveSessionOutcome | Refusal = await order(session_id, actor)
        if isinstance(found, Refusal):
            return found
        async with workplace.work(actor) as work:
            await work.audit(f"session.{word}", session_id, outcome=found.outcome, detail=found.detail)
        return OrderOutcome(found.outcome, found.detail)

    return act


def _reapply_many(sealer: Sealer, settings: RadiusSettings) -> ReapplySessions:
    async def act(workplace: Workplace, asked: ReapplyQuestion) -> ReappliedPage:
        from radius.dynauth.live_session import LiveSessions
        from radius.dynauth.reapply import Reapplying

        reapplying = Reapplying(workplace, LiveSessions(workplace, sealer, settings), asked.actor)
        return await reapplying.page(asked.scope, asked.after, asked.limit)

    return act


def _explain(sealer: Sealer, settings: RadiusSettings, rules: RulesInWords | None) -> Explain:
    async def act(connection: AsyncConnection, asked: SignInQuestion) -> dict[str, Any] | Refusal:
        from radius.explaining.conditions import Whence
        from radius.explaining.explain import explain

        try:
            found = await explain(
                connection, sealer, asked.username, nas_name=asked.nas, policy=settings.policy,
                dictionary_files=settings.dictionary_files, rules=rules,
                whence=Whence(asked.now, asked.cpe, asked.port),
            )  # fmt: skip
        except LookupError as trouble:
            return Refusal("nas.unknown", str(trouble), "nas")
        return asdict(found)

    return act
