"""`python -m agent_runtime.cli` is `agent-runtime`."""

import sys

from agent_runtime.cli.entry import main

sys.exit(main())
