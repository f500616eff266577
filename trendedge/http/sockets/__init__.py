"""The WebSocket `/api/v1/ws`: a user's events as they happen."""
