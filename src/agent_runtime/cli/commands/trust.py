"""`agent-runtime trust`: agree to the settings file of a folder."""

from __future__ import annotations

from pathlib import Path

import click

from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import ConfigurationError
from agent_runtime.settings import GUARDED, SETTINGS_FILE, file_content, file_values
from agent_runtime.trust import TrustStore, place_of
from llm_client.redaction import redact


@click.command()
@click.argument("file", metavar="[FILE]", default=SETTINGS_FILE, type=click.Path(path_type=Path))
@click.option("--forget", is_flag=True, help="Take it back.")
def trust(file: Path, forget: bool) -> int:
    """Let a settings file say which code runs, on which database, for whom, under which rules, and where a vendor's key goes.

    Without it, `app`, `base_url`, `policy`, `scope`, `principal`, `storage` and `redis_url` of a file do not count: a folder may come from anywhere. The agreement is for
    the file as it is now; when it changes it is asked for again.
    """
    store = TrustStore()
    if forget:
        say(f"{file}: {'no longer trusted' if store.forget(file) else 'was not trusted'}")
        return OK
    try:
        content = file_content(file)
    except OSError as error:
        raise ConfigurationError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    values = file_values(content)
    store.trust(file, content)
    say(f"{place_of(file)} is trusted as it is now")
    for name in GUARDED:
        if name in values:
            say(f"  {name} = {redact(str(values[name]))!r}")
    return OK
