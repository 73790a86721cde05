"""JSON-RPC 2.0 over WebSocket, at `/ws`."""
