"""TUF: who may say what in a fleet, and which releases exist. docs/trust.md tells it for people."""
