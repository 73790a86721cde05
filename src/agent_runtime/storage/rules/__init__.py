"""The one rule book for commits: what a commit needs to see, why it is refused, and what it changes.

Pure: a back end shows it the rows, through a `View`, and writes what it is told. Whoever has to load and lock its rows
beforehand learns which from `Needs`.
"""

from agent_runtime.storage.rules.check import Changes, check, check_owner, check_parts, is_looked_at
from agent_runtime.storage.rules.needs import MailNeeds, Needs
from agent_runtime.storage.rules.view import Key, SeenJob, View

__all__ = [
    "Changes",
    "Key",
    "MailNeeds",
    "Needs",
    "SeenJob",
    "View",
    "check",
    "check_owner",
    "check_parts",
    "is_looked_at",
]
