"""API calls by hour."""

import sqlalchemy as sa
from alembic import op

from salesforce_pipelines.store.schema import SCHEMA

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of API calls."""
    op.create_table(
        "api_calls",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("org_used", sa.BigInteger),
        sa.Column("org_allowed", sa.BigInteger),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("hour", name="pk_api_calls"),
        schema=SCHEMA,
    )
