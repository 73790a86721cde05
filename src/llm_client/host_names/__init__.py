"""Names of hosts, looked up beside everything else, for whatever connects to them."""
