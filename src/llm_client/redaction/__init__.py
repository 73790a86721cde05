"""Redaction: secrets are taken out once, before every sink, and nothing else is.

`redact(value)` looks at names (`api_key`, `Authorization`) and at known shapes (vendor keys, JWTs, private keys, card
numbers) anywhere in a value, and writes `<REDACTED:kind>` in their place. Ids, dates, hashes, token counts and model
names stay as they are. E-mail addresses, phone numbers and social security numbers are personal rather than secret;
`Redactor(rules=[EMAIL, PHONE, SSN])` takes them out too.
"""

from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.redactor import Redactor, redact
from llm_client.redaction.rules import EMAIL, PHONE, SSN, RedactionRule

__all__ = ["EMAIL", "PHONE", "SSN", "RedactionRule", "Redactor", "kind_of_name", "redact"]
