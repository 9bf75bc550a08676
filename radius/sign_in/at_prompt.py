"""Operators who ask for a device's own prompt: answered when the sign-in is on record."""

from __future__ import annotations

from functools import partial

from aaa.authorize import Reject
from aaa.directory import Directory
from aaa.domain.authentication import MsChapV2
from radius.gear.door import Asker, GearDoor
from radius.gear.login import Prompt, prompt_attributes
from radius.packet.codec import ACCESS_ACCEPT
from radius.serving.counters import Counters
from radius.sign_in.answers import Answers, Asked, ms_chap_success


class PromptSignIns:
    """The part of one pipeline that is for operators; without a door they get silence."""

    def __init__(self, answers: Answers, counters: Counters, door: GearDoor | None) -> None:
        self._answers = answers
        self._counters = counters
        self._door = door
        self._directory: Directory | None = None

    def use(self, directory: Directory) -> None:
        """Know the operators of this snapshot from now on."""
        self._directory = directory

    def answer(self, asked: Asked, service_type: int, username: bytes, *, signed: bool, now_s: float) -> None:
        """Somebody asks for the device's own prompt; he is answered when that is on record."""
        nas = asked.nas
        if self._door is None or self._directory is None:
            return
        asker = Asker(nas, asked.key[0][0], username, asked.station, service_type, signed)
        decided = self._door.decide(self._directory.gear, asker, asked.proof, now_s)
        unknown = isinstance(decided, Reject) and decided.rule == "gear_unknown"
        if unknown and not nas.answers_unknown(now_s):
            self._counters.unknown_not_answered += 1
        elif self._door.note(asker, decided, partial(self._tell, asked, decided)):
            self._answers.replies.put(asked.key, hash(asked.packet), None)
        else:
            self._counters.gear_not_recorded += 1

    def _tell(self, asked: Asked, decided: Prompt | Reject, recorded: bool) -> None:
        """It is on record, or cannot be: then there is no answer. The device may have asked again since."""
        replies, fingerprint = self._answers.replies, hash(asked.packet)
        if not recorded:
            self._counters.gear_not_recorded += 1
            replies.drop(asked.key, fingerprint)
            return
        if replies.find(asked.key, fingerprint) is None:
            return
        nas = asked.nas
        if isinstance(decided, Prompt):
            attributes = prompt_attributes(nas.nas.dialect, decided.login.level)
            if type(asked.proof) is MsChapV2:
                attributes += ms_chap_success(nas, asked.packet, asked.proof, decided.login)
            reply: bytes | None = nas.secret.reply(ACCESS_ACCEPT, asked.packet, attributes + asked.proxied)
            self._counters.gear_accepts += 1
            replies.put(asked.key, fingerprint, reply)
        else:
            reply = self._answers.decline(asked, decided, self._answers.now_s)
        if reply is not None:
            self._answers.late.send(reply, asked.key[0])
