"""The event loop, who is who at the broker, and settings."""
