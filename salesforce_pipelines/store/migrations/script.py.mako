"""${message}"""

import sqlalchemy as sa
from alembic import op

from salesforce_pipelines.store.schema import SCHEMA, UtcDateTime

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this version."""
    ${upgrades if upgrades else "pass"}
