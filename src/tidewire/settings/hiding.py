"""Passwords that stand in an address, as in ``redis://:PASSWORD@host``.

What is looked at may be malformed: then rather too much is hidden than too little.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"

# A password may hold any character, also unescaped by mistake: it ends at the last @.
# Possessive, so that an address without an @ is not looked at in every way that it can be divided.
_USER = re.compile(r"(?s)^(?!sqlite:)([a-z+]*+:?+/*+)([^:@/?#]*+:)?+(.*)@")
_PARAMETER = re.compile(r"([?&][^=&]*password[^=&]*=)([^&]*)", re.IGNORECASE)


def hide_passwords(address: str) -> str:
    """*address* with ``***`` in the place of each password.

    A user without a password is most often a password without the colon before it.
    """
    shown = _USER.sub(lambda found: f"{found[1]}{found[2] or ''}{HIDDEN}@", address)
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", shown)


def passwords_of(address: str) -> list[str]:
    """The passwords in *address*, each as it is written there and as it is meant."""
    written = [match[3] for match in (_USER.search(address),) if match is not None]
    written += [match[2] for match in _PARAMETER.finditer(address)]
    return list(dict.fromkeys(form for text in written for form in (text, unquote(text)) if form))
