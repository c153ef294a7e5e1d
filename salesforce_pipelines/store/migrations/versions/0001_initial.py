"""Plans, credits, referral members, qualifications."""

import sqlalchemy as sa
from alembic import op

from salesforce_pipelines.store.schema import SCHEMA

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the ledger."""
    _create_plan()
    _create_credit()
    _create_referral_member()
    _create_qualification()


def _create_plan() -> None:
    op.create_table(
        "plan",
        sa.Column("number", _COUNTER, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("eligible", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.Column("proposed_at", _MOMENT, nullable=False),
        sa.Column("proposed_run", sa.String(200), nullable=False),
        sa.Column("decided_at", _MOMENT),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decision_note", sa.Text),
        sa.Column("superseded_by", sa.String(40)),
        sa.Column("claimed_by", sa.String(200)),
        sa.Column("claimed_at", _MOMENT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("done_at", _MOMENT),
        sa.Column("outcome", sa.JSON),
        sa.PrimaryKeyConstraint("number", name="pk_plan"),
        sa.UniqueConstraint("id", name="uq_plan_id"),
        schema=SCHEMA,
    )
    _create_unique_among("uq_plan_open", "status IN ('proposed', 'confirmed')")
    _create_unique_among("uq_plan_claimed", "status = 'claimed'")


def _create_unique_among(name: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        name,
        "plan",
        ["kind", "stream"],
        unique=True,
        schema=SCHEMA,
        sqlite_where=where,
        postgresql_where=where,
    )


def _create_credit() -> None:
    op.create_table(
        "credit",
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("person_id", sa.String(200), nullable=False),
        sa.Column("plan_id", sa.String(40), nullable=False),
        sa.Column("credits", sa.Integer, nullable=False),
        sa.Column("charged_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("provider", "person_id", name="pk_credit"),
        sa.ForeignKeyConstraint(["plan_id"], [f"{SCHEMA}.plan.id"], name="fk_credit_plan_id"),
        sa.CheckConstraint("credits >= 0", name="ck_credit_not_negative"),
        schema=SCHEMA,
    )
    op.create_index("ix_credit_plan_id", "credit", ["plan_id"], schema=SCHEMA)


def _create_referral_member() -> None:
    op.create_table(
        "referral_member",
        sa.Column("program", sa.String(100), nullable=False),
        sa.Column("object", sa.String(80), nullable=False),
        sa.Column("record_id", sa.String(200), nullable=False),
        sa.Column("code", sa.String(100), nullable=False),
        sa.Column("enrolled_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("program", "object", "record_id", name="pk_referral_member"),
        sa.UniqueConstraint("code", name="uq_referral_member_code"),
        schema=SCHEMA,
    )


def _create_qualification() -> None:
    op.create_table(
        "qualification",
        sa.Column("program", sa.String(100), nullable=False),
        sa.Column("referred_object", sa.String(80), nullable=False),
        sa.Column("referred_id", sa.String(200), nullable=False),
        sa.Column("code", sa.String(100), nullable=False),
        sa.Column("method", sa.String(100), nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("qualified_at", _MOMENT, nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint(
            "program", "referred_object", "referred_id", name="pk_qualification"
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_qualification_program_code", "qualification", ["program", "code"], schema=SCHEMA
    )
