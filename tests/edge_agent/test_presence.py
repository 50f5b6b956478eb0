from __future__ import annotations

import pytest

from edge_agent.core.presence import ASK_AGAIN_S, RENEW_S, ROLL_CALL_S, Outgoing, PresenceKeeper, Standing
from neo.contract.messages import Presence, RollCall
from neo.errors import DeviceIdInUse


def keeper(session: str = "m") -> PresenceKeeper:
    return PresenceKeeper("cam-1", session, lambda: 1000.0)


def announced(session: str = "m", now: float = 0.0) -> PresenceKeeper:
    one = keeper(session)
    one.connected(now)
    assert [message.leaf for message in one.tick(now + ROLL_CALL_S)] == ["presence"]
    return one


def calls(messages: list[Outgoing]) -> list[RollCall]:
    return [RollCall.from_bytes(message.payload) for message in messages if message.leaf == "roll-call"]


def test_a_newcomer_asks_and_announces_itself_only_after_the_wait() -> None:
    one = keeper()
    assert calls(one.connected(0)) == [RollCall("m", asks=True)]
    assert one.tick(ROLL_CALL_S - 0.1) == []
    (birth,) = one.tick(ROLL_CALL_S)
    assert Presence.from_bytes(birth.payload) == Presence(online=True, session="m", at=1000.0)
    assert birth.retain
    assert one.announced


def test_a_newcomer_that_is_answered_stops_and_says_what_to_do() -> None:
    old, new = announced("z"), keeper("a")
    (question,) = calls(new.connected(100))
    (answer,) = calls(old.heard_roll_call(question, 100))
    with pytest.raises(DeviceIdInUse, match="cam-1") as stopped:
        new.heard_roll_call(answer, 100.1)
    assert "--device-id" in stopped.value.hint
    assert old.announced


def test_an_answer_that_comes_late_still_stops_the_newcomer() -> None:
    new = announced("a")
    with pytest.raises(DeviceIdInUse):
        new.heard_roll_call(RollCall("z", asks=False), 10)


def test_of_two_that_ask_at_once_the_lower_session_keeps_the_id() -> None:
    low, high = keeper("a"), keeper("b")
    low.connected(0)
    high.connected(0)
    assert calls(low.heard_roll_call(RollCall("b", asks=True), 0.1)) == [RollCall("a", asks=False)]
    with pytest.raises(DeviceIdInUse):
        high.heard_roll_call(RollCall("a", asks=True), 0.1)


def test_its_own_questions_and_old_answers_are_nothing_to_it() -> None:
    one = announced("m")
    assert one.heard_roll_call(RollCall("m", asks=True), 5) == []
    assert one.heard_roll_call(RollCall("x", asks=False), 500) == []
    assert one.announced


def test_a_last_will_of_an_earlier_session_is_corrected_once_a_second_at_most() -> None:
    one = announced()
    assert one.heard_presence(Presence(online=False, session="earlier", at=1)) == []
    assert one.tick(ROLL_CALL_S + 0.5) == []
    assert [message.leaf for message in one.tick(ROLL_CALL_S + 1)] == ["presence"]
    assert one.tick(ROLL_CALL_S + 1.5) == []


def test_presence_is_renewed() -> None:
    one = announced()
    assert one.tick(ROLL_CALL_S + RENEW_S - 1) == []
    assert [message.leaf for message in one.tick(ROLL_CALL_S + RENEW_S)] == ["presence"]


def test_one_that_loses_its_id_while_it_was_away_stands_by_and_asks_again() -> None:
    one = announced("m")
    one.disconnected()
    one.connected(1000)
    assert one.heard_roll_call(RollCall("x", asks=False), 1000.2) == []
    assert one.standing is Standing.STANDING_BY
    assert one.tick(1000 + ROLL_CALL_S) == []
    assert one.heard_roll_call(RollCall("y", asks=True), 1010) == []
    assert calls(one.tick(1000 + ASK_AGAIN_S)) == [RollCall("m", asks=True)]
    one.tick(1000 + ASK_AGAIN_S + ROLL_CALL_S)
    assert one.announced


def test_another_that_announced_itself_all_the_same_is_told_again() -> None:
    one = announced("m")
    assert calls(one.heard_presence(Presence(online=True, session="x", at=1))) == [RollCall("m", asks=False)]
    assert one.heard_presence(Presence(online=True, session="m", at=1)) == []


def test_nothing_is_said_without_a_connection() -> None:
    one = announced()
    one.disconnected()
    assert one.tick(1e6) == []
    assert one.heard_roll_call(RollCall("x", asks=True), 1e6) == []


def test_a_device_that_had_the_id_in_an_earlier_run_stands_by_instead_of_stopping() -> None:
    one = PresenceKeeper("cam-1", "m", lambda: 1000.0, had_id=True)
    one.connected(0)
    assert one.heard_roll_call(RollCall("a", asks=False), 0.1) == []
    assert one.standing is Standing.STANDING_BY
    assert one.tick(ROLL_CALL_S + 1) == []
    assert calls(one.tick(ASK_AGAIN_S + 1)) == [RollCall("m", asks=True)]
