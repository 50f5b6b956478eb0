"""The process that holds a loaded model, and the agent's end of it."""
