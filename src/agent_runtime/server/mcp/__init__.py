"""The operators of a service as tools of an MCP server, at `/mcp`. Needs the extra `mcp` beside `server`."""
