"""What erasing a person does to resident agents, the same for both databases but for their parameters."""

from __future__ import annotations

from typing import Final

from agent_runtime.ports.agents import REMOVED
from agent_runtime.ports.audit import Note

_SENT: Final = "SELECT {column} FROM runtime_agent_messages WHERE scope_id = {{scope}} AND sender = {{value}}"

AGENTS_OF: Final = (
    "SELECT agent_id FROM runtime_agents WHERE scope_id = {scope} AND principal_id = {value} ORDER BY 1"
)
_FORGET: Final = "DELETE FROM runtime_agent_memory WHERE scope_id = {scope} AND agent_id IN "
_EMPTY: Final = "UPDATE runtime_agent_events SET data = '{{}}', content = NULL WHERE scope_id = {scope} AND {sender} = {value} OR "
EMPTY: Final = (
    f"{_FORGET}({_SENT.format(column='mailbox')})",
    f"{_EMPTY} scope_id = {{scope}} AND {{message}} IN ({_SENT.format(column='message_id')})",
    "DELETE FROM runtime_agent_messages WHERE scope_id = {scope} AND mailbox = {value}",
)
"""An agent that the person has written to forgets what was said in all its turns: nobody can tell whose words are in what it remembers."""
RENAME: Final = (
    """
UPDATE runtime_agent_messages SET sender = {pseudonym}, content = NULL, result = NULL, error = NULL, dedupe_key = NULL
WHERE scope_id = {scope} AND sender = {value}
""",
    "UPDATE runtime_agents SET created_by = {pseudonym} WHERE scope_id = {scope} AND created_by = {value}",
)


def removed_by_erasure(agent_id: str, pseudonym: str) -> Note:
    """Return what the trail of a scope is told of an agent on behalf of somebody who was erased."""
    return Note(REMOVED, {"agent_id": agent_id, "by": None, "pseudonym": pseudonym})
