"""The tables of resident agents, as the first migration makes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agent_runtime.storage.migrations.columns import Json, Time, partial_index


def create_agents() -> None:
    """Create the tables of resident agents."""
    _create_agent_rows()
    _create_memory()
    _create_subscriptions()
    _create_messages()
    _index_messages()
    _create_scopes()
    _create_events()


def _create_agent_rows() -> None:
    op.create_table(
        "runtime_agents",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("principal_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("sleep", Json),
        sa.Column("wake_load", sa.Float),
        sa.Column("listens_to", Json, nullable=False),
        sa.Column("look_at", Time),
        sa.Column("holder", sa.Text),
        sa.Column("queued", sa.BigInteger, nullable=False),
        sa.Column("running", sa.BigInteger, nullable=False),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("broken_until", Time),
        sa.Column("woken", sa.BigInteger, nullable=False),
        sa.Column("woken_on", sa.Text),
        sa.Column("last_active", Time, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("updated_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "agent_id", name="runtime_agents_key"),
    )
    partial_index("runtime_agents_due", "runtime_agents", ["look_at"], "look_at IS NOT NULL")
    partial_index("runtime_agents_by_load", "runtime_agents", ["wake_load"], "wake_load IS NOT NULL")


def _create_memory() -> None:
    op.create_table(
        "runtime_agent_memory",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "agent_id", name="runtime_agent_memory_key"),
    )


def _create_subscriptions() -> None:
    op.create_table(
        "runtime_agent_subscriptions",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("pattern", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "pattern", "agent_id", name="runtime_agent_subscriptions_key"),
    )
    op.create_index(
        "runtime_agent_subscriptions_by_agent", "runtime_agent_subscriptions", ["scope_id", "agent_id"]
    )


def _create_messages() -> None:
    op.create_table(
        "runtime_agent_messages",
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("mailbox", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("dedupe_key", sa.Text),
        sa.Column("thread_id", sa.Text),
        sa.Column("reply_to", sa.Text),
        sa.Column("mail_status", sa.Text),
        sa.Column("sent_at", Time, nullable=False),
        sa.Column("not_before", Time, nullable=False),
        sa.Column("expires_at", Time),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("claimed_at", Time),
        sa.Column("ended_at", Time),
        sa.Column("error", sa.Text),
        sa.Column("content", sa.LargeBinary),
        sa.Column("result", sa.LargeBinary),
        sa.PrimaryKeyConstraint("scope_id", "message_id", name="runtime_agent_messages_key"),
    )
    op.create_index(
        "runtime_agent_messages_in_order",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "position"],
        unique=True,
    )


def _index_messages() -> None:
    partial_index(
        "runtime_agent_messages_known",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "dedupe_key"],
        "dedupe_key IS NOT NULL",
        unique=True,
    )
    partial_index(
        "runtime_agent_messages_ready",
        "runtime_agent_messages",
        ["scope_id", "mailbox", sa.text("priority DESC"), "position"],
        "status = 'waiting'",
    )
    partial_index(
        "runtime_agent_messages_later",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "not_before"],
        "status = 'waiting'",
    )
    partial_index(
        "runtime_agent_messages_expiring",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "expires_at"],
        "status = 'waiting' AND expires_at IS NOT NULL",
    )
    partial_index(
        "runtime_agent_messages_claimed",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "position"],
        "status = 'claimed'",
    )
    partial_index(
        "runtime_agent_messages_dead",
        "runtime_agent_messages",
        ["scope_id", "sent_at", "message_id"],
        "status = 'dead'",
    )
    partial_index(
        "runtime_agent_messages_ended", "runtime_agent_messages", ["ended_at"], "ended_at IS NOT NULL"
    )
    partial_index(
        "runtime_agent_messages_by_thread",
        "runtime_agent_messages",
        ["scope_id", "thread_id", "sent_at", "message_id"],
        "thread_id IS NOT NULL",
    )
    op.create_index(
        "runtime_agent_messages_by_mailbox",
        "runtime_agent_messages",
        ["scope_id", "mailbox", "sent_at", "message_id"],
    )
    op.create_index(
        "runtime_agent_messages_by_scope", "runtime_agent_messages", ["scope_id", "sent_at", "message_id"]
    )


def _create_scopes() -> None:
    op.create_table(
        "runtime_agent_scopes",
        sa.Column("scope_id", sa.Text, primary_key=True),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
    )


def _create_events() -> None:
    op.create_table(
        "runtime_agent_events",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("delivered", sa.BigInteger),
        sa.PrimaryKeyConstraint("scope_id", "seq", name="runtime_agent_events_key"),
    )
    op.create_index("runtime_agent_events_by_time", "runtime_agent_events", ["at"])
    partial_index(
        "runtime_agent_events_undelivered",
        "runtime_agent_events",
        ["at", "scope_id", "seq"],
        "type = 'event' AND delivered IS NULL",
    )
    partial_index(
        "runtime_agent_events_dead",
        "runtime_agent_events",
        ["scope_id", "seq"],
        "type = 'event' AND delivered = 0",
    )
