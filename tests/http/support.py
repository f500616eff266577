"""Tokens, and small honest stand-ins for the actors that the front speaks to."""

import time
import uuid
from typing import Any

import jwt

SECRET = "a-shared-secret-for-tests-of-at-least-32-bytes"
SUPABASE_URL = "https://project.supabase.test"
ISSUER = f"{SUPABASE_URL}/auth/v1"
OPERATOR_KEY = "operator-key-for-tests"


def claims_for(user_id: str, **changes: Any) -> dict[str, Any]:
    """The claims of a Supabase user token; a change to None removes the claim."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "authenticated",
        "exp": now + 3600,
        "iat": now,
        "sub": user_id,
        "role": "authenticated",
        "aal": "aal1",
        "session_id": str(uuid.uuid4()),
        "email": f"{user_id[:8]}@example.com",
        "phone": "",
        "is_anonymous": False,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def token_for(user_id: str, *, secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A signed token."""
    return jwt.encode(claims_for(user_id, **changes), secret, algorithm=algorithm)
