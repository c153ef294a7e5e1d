"""The life of a plan: proposed, confirmed by a person, claimed by one run, done.

A plan is what a person is asked to agree to: credits to spend or cells to write. Confirming signs
the fingerprint of exactly what was shown, so a plan that changed is another plan. Of each kind and
stream at most one plan waits to be decided on or claimed, and at most one is under way; the
database holds to both.

    proposed ─▶ confirmed ─▶ claimed ─▶ done
       │            │  ▲        │
       │            │  └────────┴─ released, or taken over by another run
       └────────────┴─▶ rejected, expired, superseded

A plan's id is the first 16 digits of its fingerprint. When the same fingerprint comes again after
its plan was done, rejected, expired or superseded, that is a new plan to decide on, whose id ends
in ``-2``, ``-3`` and so on: an old confirmation never stands for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, text, true, update
from sqlalchemy.sql.elements import ColumnElement

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.schema import SCHEMA
from salesforce_pipelines.store.schema import plan as table

_ID_DIGITS = 16


class PlanKind(StrEnum):
    """What a plan asks for."""

    ENRICHMENT = "enrichment"
    PUSH = "push"


class PlanStatus(StrEnum):
    """Where a plan is in its life."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    CLAIMED = "claimed"
    DONE = "done"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Plan:
    """A plan as the ledger knows it.

    Attributes:
        id: what people name it by.
        fingerprint: of exactly what was shown.
        kind: what it asks for.
        stream: what it is about, such as ``contacts`` or ``referrals/spring``.
        status: where it is in its life.
        records: looked at.
        eligible: of these, concerned.
        amount: credits to spend, or cells to write.
        summary: counts to show, JSON; never people's data.
        proposed_at: when it was first proposed.
        proposed_run: id of the run that proposed it.
        decided_at: when it was confirmed, rejected, expired or superseded.
        decided_by: who confirmed or rejected it.
        decision_note: why, in that person's words.
        superseded_by: id of the plan that took its place, if another did.
        claimed_by: id of the run that carries or carried it out.
        claimed_at: when that run claimed it.
        attempts: how many runs claimed it.
        done_at: when it was carried out.
        outcome: counts of what was done, JSON.
    """

    id: str
    fingerprint: str
    kind: PlanKind
    stream: str
    status: PlanStatus
    records: int
    eligible: int
    amount: int
    summary: dict[str, Any]
    proposed_at: datetime
    proposed_run: str
    decided_at: datetime | None
    decided_by: str | None
    decision_note: str | None
    superseded_by: str | None
    claimed_by: str | None
    claimed_at: datetime | None
    attempts: int
    done_at: datetime | None
    outcome: dict[str, Any] | None

    @property
    def unit(self) -> str:
        """What the amount counts."""
        return "credits" if self.kind is PlanKind.ENRICHMENT else "cells"


_COLUMNS = [table.c[name] for name in Plan.__dataclass_fields__]
_OPEN = table.c.status.in_([PlanStatus.PROPOSED, PlanStatus.CONFIRMED])
_LIVE = table.c.status.in_([PlanStatus.PROPOSED, PlanStatus.CONFIRMED, PlanStatus.CLAIMED])


def propose(
    ledger: Ledger,
    *,
    kind: PlanKind,
    stream: str,
    fingerprint: str,
    records: int,
    eligible: int,
    amount: int,
    summary: Mapping[str, Any],
    run_id: str,
) -> Plan:
    """The plan of this fingerprint, put before people; another open plan of its stream gives way.

    While a plan of the same fingerprint is open or under way it stays as it is and is returned.

    Args:
        ledger: where plans are kept.
        kind: what is asked for.
        stream: what it is about.
        fingerprint: hexadecimal digest of exactly what is shown.
        records: looked at.
        eligible: of these, concerned.
        amount: credits to spend, or cells to write.
        summary: counts to show, JSON.
        run_id: of the run that proposes.
    """
    digits = fingerprint[:_ID_DIGITS]
    if len(digits) < _ID_DIGITS or set(digits) - set("0123456789abcdef"):
        raise ValueError("a fingerprint is at least 16 lowercase hexadecimal digits")
    stream_is = and_(table.c.kind == kind, table.c.stream == stream)
    with ledger.begin() as connection:
        _hold_up_other_proposals(connection)
        same = and_(stream_is, table.c.fingerprint == fingerprint, _LIVE)
        if known := connection.execute(select(*_COLUMNS).where(same)).first():
            return _plan(known)
        plan_id = _free_id(connection, digits)
        way = {"superseded_by": plan_id}
        _close(connection, and_(stream_is, _OPEN), PlanStatus.SUPERSEDED, way)
        row = table.insert().values(
            id=plan_id,
            fingerprint=fingerprint,
            kind=kind,
            stream=stream,
            status=PlanStatus.PROPOSED,
            records=records,
            eligible=eligible,
            amount=amount,
            summary=dict(summary),
            proposed_at=_now(),
            proposed_run=run_id,
        )
        return _plan(connection.execute(row.returning(*_COLUMNS)).one())


def supersede_open(ledger: Ledger, *, kind: PlanKind, stream: str) -> list[Plan]:
    """The open plans that give way because the newest plan of their stream is empty."""
    concerned = and_(table.c.kind == kind, table.c.stream == stream, _OPEN)
    with ledger.begin() as connection:
        return _close(connection, concerned, PlanStatus.SUPERSEDED)


def confirm(ledger: Ledger, plan_id: str, *, amount: int, by: str) -> Plan:
    """The plan, confirmed by a person who names its amount.

    Confirming again with the same name and amount changes nothing.

    Raises:
        PipelineError: there is no such plan, its amount is another one, it no longer waits for a
            decision, or ``by`` is blank.
    """
    by = _named(by, "confirms")
    with ledger.begin() as connection:
        wanted = and_(
            table.c.id == plan_id,
            table.c.status == PlanStatus.PROPOSED,
            table.c.amount == amount,
        )
        decided = {"status": PlanStatus.CONFIRMED, "decided_at": _now(), "decided_by": by}
        if confirmed := _updated(connection, wanted, decided):
            return confirmed[0]
        plan = _known(connection, plan_id)
        if plan.amount != amount:
            raise PipelineError(
                f"Plan {plan.id} asks for {plan.amount} {plan.unit}, not {amount}. "
                "Look at it again, then confirm the amount it shows."
            )
        if plan.status is PlanStatus.CONFIRMED and plan.decided_by == by:
            return plan
        raise _refusal(connection, plan, "confirmed")


def reject(ledger: Ledger, plan_id: str, *, by: str, note: str = "") -> Plan:
    """The plan, refused by a person; also one that was confirmed but not claimed yet.

    Raises:
        PipelineError: there is no such plan, it is no longer open, or ``by`` is blank.
    """
    by = _named(by, "rejects")
    with ledger.begin() as connection:
        decided = {"decided_by": by, "decision_note": note.strip() or None}
        wanted = and_(table.c.id == plan_id, _OPEN)
        if rejected := _close(connection, wanted, PlanStatus.REJECTED, decided):
            return rejected[0]
        plan = _known(connection, plan_id)
        if plan.status is PlanStatus.REJECTED and plan.decided_by == by:
            return plan
        raise _refusal(connection, plan, "rejected")


def expire(ledger: Ledger, *, proposed_before: datetime) -> list[Plan]:
    """The open plans, confirmed ones too, that were proposed before a moment and end here."""
    with ledger.begin() as connection:
        old = and_(_OPEN, table.c.proposed_at < proposed_before)
        return _close(connection, old, PlanStatus.EXPIRED)


def claim(
    ledger: Ledger,
    plan_id: str,
    *,
    run_id: str,
    abandoned: Callable[[str], bool] = lambda run_id: False,
) -> Plan:
    """The plan, from now on this run's alone to carry out.

    A run may claim again what it holds. A plan that an abandoned run holds is taken over. Another
    plan of the same stream that an abandoned run holds gives way to this one, which was proposed
    later.

    Args:
        ledger: where plans are kept.
        plan_id: of a confirmed plan.
        run_id: of this run.
        abandoned: whether a run has ended and will not go on.

    Raises:
        PipelineError: there is no such plan, it is not confirmed, or another run is at it or at
            another plan of its stream.
    """
    plan = get(ledger, plan_id)
    dead = _abandoned_holders(ledger, plan, run_id, abandoned)
    with ledger.begin() as connection:
        mine = and_(table.c.id == plan_id, _held_by(run_id))
        if held := connection.execute(select(*_COLUMNS).where(mine)).first():
            return _plan(held)
        _clear_the_way(connection, plan, dead)
        claimable = and_(
            table.c.id == plan_id, or_(table.c.status == PlanStatus.CONFIRMED, _held_by(*dead))
        )
        taken = {
            "status": PlanStatus.CLAIMED,
            "claimed_by": run_id,
            "claimed_at": _now(),
            "attempts": table.c.attempts + 1,
        }
        if claimed := _updated(connection, claimable, taken):
            return claimed[0]
        raise _refusal(connection, _known(connection, plan_id), "claimed")


def finish(ledger: Ledger, plan_id: str, *, run_id: str, outcome: Mapping[str, Any]) -> Plan:
    """The plan, done; finishing again changes nothing.

    Raises:
        PipelineError: this run does not hold the plan.
    """
    with ledger.begin() as connection:
        done = {"status": PlanStatus.DONE, "done_at": _now(), "outcome": dict(outcome)}
        mine = and_(table.c.id == plan_id, _held_by(run_id))
        if finished := _updated(connection, mine, done):
            return finished[0]
        plan = _known(connection, plan_id)
        if plan.status is PlanStatus.DONE and plan.claimed_by == run_id:
            return plan
        raise _refusal(connection, plan, "finished")


def release(ledger: Ledger, plan_id: str, *, run_id: str) -> Plan:
    """The plan, given back after a failed attempt: confirmed, for another run to claim.

    Where a newer plan of its stream was proposed meanwhile, it gives way to that one instead.

    Raises:
        PipelineError: this run does not hold the plan.
    """
    with ledger.begin() as connection:
        _hold_up_other_proposals(connection)
        plan = _known(connection, plan_id)
        mine = and_(table.c.id == plan_id, _held_by(run_id))
        if newer := _open_of(connection, plan):
            released = _close(connection, mine, PlanStatus.SUPERSEDED, {"superseded_by": newer.id})
        else:
            back = {"status": PlanStatus.CONFIRMED, "claimed_by": None, "claimed_at": None}
            released = _updated(connection, mine, back)
        if released:
            return released[0]
        raise _refusal(connection, plan, "released")


def get(ledger: Ledger, plan_id: str) -> Plan:
    """The plan of this id.

    Raises:
        PipelineError: there is none; the message lists the open ones.
    """
    with ledger.read() as connection:
        return _known(connection, plan_id)


def find(ledger: Ledger, prefix: str) -> Plan:
    """The plan whose id begins so, when only one does.

    Raises:
        PipelineError: none does, or several do.
    """
    with ledger.read() as connection:
        starts = table.c.id.startswith(prefix, autoescape=True)
        found = _listed(connection, starts)
        exact = [plan for plan in found if plan.id == prefix]
        if len(found) > 1 and not exact:
            ids = ", ".join(plan.id for plan in found)
            raise PipelineError(f"Several plans begin with {prefix!r}: {ids}. Give more digits.")
        if not found or not prefix:
            return _known(connection, prefix)
        return (exact or found)[0]


def open_plans(ledger: Ledger, kind: PlanKind | None = None) -> list[Plan]:
    """The plans that wait to be decided on or claimed, newest first."""
    with ledger.read() as connection:
        return _listed(connection, _OPEN, kind)


def confirmed(ledger: Ledger, kind: PlanKind | None = None) -> list[Plan]:
    """The plans that wait to be claimed, newest first."""
    with ledger.read() as connection:
        return _listed(connection, table.c.status == PlanStatus.CONFIRMED, kind)


def under_way(ledger: Ledger, kind: PlanKind | None = None) -> list[Plan]:
    """The plans that a run holds, newest first; a run that died holds its plan until taken over."""
    with ledger.read() as connection:
        return _listed(connection, table.c.status == PlanStatus.CLAIMED, kind)


def history(
    ledger: Ledger, *, kind: PlanKind | None = None, stream: str | None = None, limit: int = 100
) -> list[Plan]:
    """The latest plans whatever became of them, newest first."""
    with ledger.read() as connection:
        of_stream = true() if stream is None else table.c.stream == stream
        return _listed(connection, of_stream, kind, limit)


def _now() -> datetime:
    return datetime.now(UTC)


def _named(by: str, does: str) -> str:
    if not by.strip():
        raise PipelineError(f"Say who {does} the plan: the name is blank.")
    return by.strip()


def _held_by(*run_ids: str) -> ColumnElement[bool]:
    return and_(table.c.status == PlanStatus.CLAIMED, table.c.claimed_by.in_(run_ids))


def _stream_of(plan: Plan) -> ColumnElement[bool]:
    return and_(table.c.kind == plan.kind, table.c.stream == plan.stream)


def _hold_up_other_proposals(connection: Connection) -> None:
    """Two runs that propose at once must see each other; SQLite's writers wait anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {SCHEMA}.plan IN SHARE ROW EXCLUSIVE MODE"))


def _free_id(connection: Connection, digits: str) -> str:
    taken = connection.execute(select(func.count()).where(table.c.id.startswith(digits))).scalar()
    return f"{digits}-{taken + 1}" if taken else digits


def _abandoned_holders(
    ledger: Ledger, plan: Plan, run_id: str, abandoned: Callable[[str], bool]
) -> list[str]:
    """Found out before the write transaction, which others wait for."""
    held = select(table.c.claimed_by).where(
        _stream_of(plan), table.c.status == PlanStatus.CLAIMED, table.c.claimed_by != run_id
    )
    with ledger.read() as connection:
        holders = connection.execute(held).scalars().all()
    return [holder for holder in holders if abandoned(holder)]


def _clear_the_way(connection: Connection, plan: Plan, dead: Sequence[str]) -> None:
    others = and_(_stream_of(plan), table.c.id != plan.id)
    way = {"superseded_by": plan.id}
    _close(connection, and_(others, _held_by(*dead)), PlanStatus.SUPERSEDED, way)
    if busy := _listed(connection, and_(others, table.c.status == PlanStatus.CLAIMED)):
        raise _refusal(connection, busy[0], "followed by another one")


def _close(
    connection: Connection,
    concerned: ColumnElement[bool],
    status: PlanStatus,
    more: Mapping[str, Any] | None = None,
) -> list[Plan]:
    values = {"status": status, "decided_at": _now(), **(more or {})}
    return _updated(connection, concerned, values)


def _updated(
    connection: Connection, concerned: ColumnElement[bool], values: Mapping[str, Any]
) -> list[Plan]:
    statement = update(table).where(concerned).values(values).returning(*_COLUMNS)
    return [_plan(row) for row in connection.execute(statement)]


def _listed(
    connection: Connection,
    condition: ColumnElement[bool],
    kind: PlanKind | None = None,
    limit: int | None = None,
) -> list[Plan]:
    query = select(*_COLUMNS).where(condition).order_by(table.c.number.desc()).limit(limit)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    return [_plan(row) for row in connection.execute(query)]


def _open_of(connection: Connection, plan: Plan) -> Plan | None:
    return next(iter(_listed(connection, and_(_stream_of(plan), _OPEN))), None)


def _known(connection: Connection, plan_id: str) -> Plan:
    row = connection.execute(select(*_COLUMNS).where(table.c.id == plan_id)).first()
    if row is not None:
        return _plan(row)
    ids = ", ".join(plan.id for plan in _listed(connection, _OPEN)) or "none"
    raise PipelineError(f"There is no plan {plan_id!r}. Open plans: {ids}.")


def _refusal(connection: Connection, plan: Plan, wanted: str) -> PipelineError:
    return PipelineError(
        f"Plan {plan.id} cannot be {wanted}: {_standing(plan, _open_of(connection, plan))}"
    )


def _standing(plan: Plan, newer: Plan | None) -> str:
    match plan.status:
        case PlanStatus.PROPOSED:
            return "it waits to be confirmed. Confirm it first."
        case PlanStatus.CONFIRMED:
            return f"it is confirmed by {plan.decided_by} and not claimed yet."
        case PlanStatus.CLAIMED:
            return f"run {plan.claimed_by} holds it. Wait for that run, or end it."
        case PlanStatus.DONE:
            return f"it is done, by run {plan.claimed_by}."
        case PlanStatus.REJECTED:
            return f"{plan.decided_by} rejected it."
        case PlanStatus.EXPIRED:
            return "it expired. Materialize the plan again."
    newest = newer.id if newer else plan.superseded_by
    return f"plan {newest} took its place." if newest else "nothing is left of it to do."


def _plan(row: Row[Any]) -> Plan:
    values = row._asdict()
    kind, status = PlanKind(values.pop("kind")), PlanStatus(values.pop("status"))
    return Plan(kind=kind, status=status, **values)
