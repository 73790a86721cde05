"""Jobs as runs of AG-UI, the protocol by which agents talk with pages."""
