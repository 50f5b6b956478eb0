"""Keys, signing and verification. Ed25519 through securesystemslib; the statement is what TUF targets will carry."""

from neo.trust.authority import Authority, KeyAuthority
from neo.trust.keys import generate_key, load_public_keys, load_signer
from neo.trust.statement import Statement, sign_statement, verify_statement

__all__ = [
    "Authority",
    "KeyAuthority",
    "Statement",
    "generate_key",
    "load_public_keys",
    "load_signer",
    "sign_statement",
    "verify_statement",
]
