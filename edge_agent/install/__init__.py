"""From an assignment to a live model that stays live: one ``Deployment`` for each model."""
