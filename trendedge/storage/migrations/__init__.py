"""The schema's history. Revisions are plain SQL; Alembic keeps the order and the version."""
