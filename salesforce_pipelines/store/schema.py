"""The ledger's tables, for SQLite and PostgreSQL.

On PostgreSQL they live in a schema of their own, so that a database can be shared with Dagster's
storage; SQLite has no schemas, and the ledger leaves the name out there.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

SCHEMA = "salesforce_pipelines"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which knows no time zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse what is not a moment: a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone was given to the ledger")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the moment in UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


# An integer that counts up by itself on both dialects; SQLite does so for INTEGER alone.
_COUNTER = BigInteger().with_variant(Integer(), "sqlite")

plan = Table(
    "plan",
    metadata,
    Column("number", _COUNTER, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("fingerprint", String(128), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("stream", String(200), nullable=False),
    Column("status", String(20), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("eligible", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("proposed_run", String(200), nullable=False),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String(200)),
    Column("decision_note", Text),
    Column("superseded_by", String(40)),
    Column("claimed_by", String(200)),
    Column("claimed_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("done_at", UtcDateTime),
    Column("outcome", JSON(none_as_null=True)),
    # One plan to decide on and one under way, at most, per kind and stream.
    Index(
        "uq_plan_open",
        "kind",
        "stream",
        unique=True,
        sqlite_where=text("status IN ('proposed', 'confirmed')"),
        postgresql_where=text("status IN ('proposed', 'confirmed')"),
    ),
    Index(
        "uq_plan_claimed",
        "kind",
        "stream",
        unique=True,
        sqlite_where=text("status = 'claimed'"),
        postgresql_where=text("status = 'claimed'"),
    ),
)

credit = Table(
    "credit",
    metadata,
    Column("provider", String(100), primary_key=True),
    Column("person_id", String(200), primary_key=True),
    Column("plan_id", String(40), ForeignKey(plan.c.id), nullable=False),
    Column(
        "credits", Integer, CheckConstraint("credits >= 0", name="not_negative"), nullable=False
    ),
    Column("charged_at", UtcDateTime, nullable=False),
    Index(None, "plan_id"),
)

referral_member = Table(
    "referral_member",
    metadata,
    Column("program", String(100), primary_key=True),
    Column("object", String(80), primary_key=True),
    Column("record_id", String(200), primary_key=True),
    Column("code", String(100), nullable=False),
    Column("enrolled_at", UtcDateTime, nullable=False),
    UniqueConstraint("code"),
)

qualification = Table(
    "qualification",
    metadata,
    Column("program", String(100), primary_key=True),
    Column("referred_object", String(80), primary_key=True),
    Column("referred_id", String(200), primary_key=True),
    Column("code", String(100), nullable=False),
    Column("method", String(100), nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("qualified_at", UtcDateTime, nullable=False),
    Column("run_id", String(200), nullable=False),
    Index(None, "program", "code"),
)

api_calls = Table(
    "api_calls",
    metadata,
    Column("hour", UtcDateTime, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("org_used", BigInteger),
    Column("org_allowed", BigInteger),
    Column("told_at", UtcDateTime),
)
