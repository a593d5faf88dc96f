"""Alembic's way in: `voices.migrate` hands over a connection."""

from alembic import context

from voices.schema import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    transaction_per_migration=True,
    transactional_ddl=True,  # with both databases; Alembic thinks otherwise of SQLite, whose driver used to commit
)
with context.begin_transaction():
    context.run_migrations()
