"""LangGraph with its SQLite saver and `durability="async"`: a checkpoint is written while the next step runs.

A process that dies then may have lost the last steps that it had shown; as its documentation says.
"""

from functools import partial

import workload
from langgraph_sqlite import agent, concurrent, sequential

if __name__ == "__main__":
    workload.main(
        {case.__name__: partial(case, durability="async") for case in (sequential, concurrent, agent)}
    )
