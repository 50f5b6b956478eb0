"""The embedded MQTT broker: enough for a first hour and a small fleet. docs/brokers.md has the rest."""
