"""The tables of resident agents; `schema` has them with all others."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from agent_runtime.storage.columns import Json, Time, partial_index, required

metadata = MetaData()

agents = Table(
    "runtime_agents",
    metadata,
    required("scope_id", Text),
    required("agent_id", Text),
    required("revision", BigInteger),
    required("definition", Text),
    required("config", Json),
    Column("principal_id", Text),
    required("state", Text),
    Column("reason", Text),
    Column("sleep", Json),
    Column("wake_load", Float),
    required("listens_to", Json),
    Column("look_at", Time),
    Column("holder", Text),
    required("queued", BigInteger),
    required("running", BigInteger),
    required("turns", BigInteger),
    required("errors", BigInteger),
    required("failures", BigInteger),
    Column("broken_until", Time),
    required("woken", BigInteger),
    Column("woken_on", Text),
    required("last_active", Time),
    required("created_at", Time),
    Column("created_by", Text),
    required("updated_at", Time),
    PrimaryKeyConstraint("scope_id", "agent_id", name="runtime_agents_key"),
    partial_index("runtime_agents_due", "look_at", where="look_at IS NOT NULL"),
    partial_index("runtime_agents_by_load", "wake_load", where="wake_load IS NOT NULL"),
)

agent_memory = Table(
    "runtime_agent_memory",
    metadata,
    required("scope_id", Text),
    required("agent_id", Text),
    required("content", LargeBinary),
    PrimaryKeyConstraint("scope_id", "agent_id", name="runtime_agent_memory_key"),
)

agent_subscriptions = Table(
    "runtime_agent_subscriptions",
    metadata,
    required("scope_id", Text),
    required("pattern", Text),
    required("agent_id", Text),
    PrimaryKeyConstraint("scope_id", "pattern", "agent_id", name="runtime_agent_subscriptions_key"),
    Index("runtime_agent_subscriptions_by_agent", "scope_id", "agent_id"),
)

agent_messages = Table(
    "runtime_agent_messages",
    metadata,
    required("message_id", Text),
    required("scope_id", Text),
    required("mailbox", Text),
    required("position", BigInteger),
    required("kind", Text),
    required("status", Text),
    required("priority", Integer),
    Column("sender", Text),
    Column("name", Text),
    Column("dedupe_key", Text),
    Column("thread_id", Text),
    Column("reply_to", Text),
    Column("mail_status", Text),
    required("sent_at", Time),
    required("not_before", Time),
    Column("expires_at", Time),
    required("attempts", Integer),
    Column("job_id", Text),
    Column("claimed_at", Time),
    Column("ended_at", Time),
    Column("error", Text),
    Column("content", LargeBinary),
    Column("result", LargeBinary),
    PrimaryKeyConstraint("scope_id", "message_id", name="runtime_agent_messages_key"),
    Index("runtime_agent_messages_in_order", "scope_id", "mailbox", "position", unique=True),
    partial_index(
        "runtime_agent_messages_known",
        *("scope_id", "mailbox", "dedupe_key"),
        where="dedupe_key IS NOT NULL",
        unique=True,
    ),
    partial_index(
        "runtime_agent_messages_ready",
        *("scope_id", "mailbox", text("priority DESC"), "position"),
        where="status = 'waiting'",
    ),
    partial_index(
        "runtime_agent_messages_later", "scope_id", "mailbox", "not_before", where="status = 'waiting'"
    ),
    partial_index(
        "runtime_agent_messages_expiring",
        *("scope_id", "mailbox", "expires_at"),
        where="status = 'waiting' AND expires_at IS NOT NULL",
    ),
    partial_index(
        "runtime_agent_messages_claimed", "scope_id", "mailbox", "position", where="status = 'claimed'"
    ),
    partial_index(
        "runtime_agent_messages_dead", "scope_id", "sent_at", "message_id", where="status = 'dead'"
    ),
    partial_index("runtime_agent_messages_ended", "ended_at", where="ended_at IS NOT NULL"),
    partial_index(
        "runtime_agent_messages_by_thread",
        *("scope_id", "thread_id", "sent_at", "message_id"),
        where="thread_id IS NOT NULL",
    ),
    Index("runtime_agent_messages_by_mailbox", "scope_id", "mailbox", "sent_at", "message_id"),
    Index("runtime_agent_messages_by_scope", "scope_id", "sent_at", "message_id"),
)

agent_scopes = Table(
    "runtime_agent_scopes",
    metadata,
    Column("scope_id", Text, primary_key=True),
    required("last_seq", BigInteger),
)

agent_events = Table(
    "runtime_agent_events",
    metadata,
    required("scope_id", Text),
    required("seq", BigInteger),
    required("at", Time),
    required("type", Text),
    Column("agent_id", Text),
    required("priority", Integer),
    required("data", Json),
    Column("content", LargeBinary),
    Column("delivered", BigInteger),
    PrimaryKeyConstraint("scope_id", "seq", name="runtime_agent_events_key"),
    Index("runtime_agent_events_by_time", "at"),
    partial_index(
        "runtime_agent_events_undelivered",
        *("at", "scope_id", "seq"),
        where="type = 'event' AND delivered IS NULL",
    ),
    partial_index("runtime_agent_events_dead", "scope_id", "seq", where="type = 'event' AND delivered = 0"),
)
