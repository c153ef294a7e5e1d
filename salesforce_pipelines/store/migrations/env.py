"""Alembic's entry: runs the migrations in the transaction that opening the ledger began."""

from alembic import context
from sqlalchemy import Connection

from salesforce_pipelines.store.ledger import version_table_options
from salesforce_pipelines.store.schema import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    **version_table_options(connection.dialect.name),
)
with context.begin_transaction():
    context.run_migrations()
