"""What must never be written: where it comes from, and any text without it.

How a server or a library quotes a token is not in our hands. So every error, log, record, page and line on the terminal
passes through `scrub` where it is written.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html.entities import codepoint2name
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN")
"""Variables that hold a token of the Hub."""
_KEYS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
_ADDRESSES = (
    *("HF_ENDPOINT", "PREFECT_API_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
)
"""Variables that hold an address, or several, which may have a password in it."""
HIDDEN = "***"
_SHORTEST = 4
"""Characters of a secret: what is shorter is part of other words."""


def without_tokens(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that has no business with the Hub."""
    return {name: value for name, value in environment.items() if name not in TOKENS}


def scrub(text: str) -> str:
    """Return `text` with every secret of this process hidden: plain, escaped for any language, URL-encoded or in base64."""
    pattern = _pattern(frozenset(_secrets()))
    return pattern.sub(HIDDEN, text) if pattern else text


def scrub_bytes(data: bytes) -> bytes:
    """Return what `scrub` makes of bytes, in any encoding that holds ASCII."""
    return scrub(data.decode("latin-1")).encode("latin-1", "replace")


def _secrets() -> Iterator[str]:
    for name in (*TOKENS, *_KEYS):
        value = os.environ.get(name, "").strip()
        # The Hub's client sends a token without its line breaks.
        yield from {value, value.replace("\r", "").replace("\n", "")}
    for name in _ADDRESSES:
        for address in (*os.environ.get(name, "").split(), *os.environ.get(name.lower(), "").split()):
            if "@" in address and (password := urlsplit(address).password):
                yield from (password, unquote(password))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    try:  # what `hf auth login` keeps, and the client falls back to
        yield Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser().read_text().strip()
    except (OSError, ValueError, RuntimeError):
        return


@lru_cache(maxsize=16)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    long_enough = [secret for secret in secrets if len(secret) >= _SHORTEST]
    forms = {form for secret in long_enough for form in (secret, *_in_base64(secret.encode(errors="surrogateescape")))}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join("".join(map(_spelled, form)) for form in longest_first)) if forms else None


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield the characters that stand for `secret` and nothing else, wherever it begins in what was encoded."""
    for before, shared in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        whole = encoded[shared : len(encoded) - ((before + len(secret)) % 3 > 0)]
        if len(whole) >= _SHORTEST:
            yield from {whole, whole.replace("+", "-").replace("/", "_")}


@lru_cache(maxsize=256)
def _spelled(char: str) -> str:
    """Pattern of a character as it is and as Python, JSON, URLs and HTML escape it, one on top of another or not.

    None of them touches an ASCII letter or digit.
    """
    if char.isascii() and char.isalnum():
        return char
    code, data = ord(char), char.encode(errors="surrogateescape")
    backslashed = [f"u{code:04x}", "".join(rf"x{byte:02x}\\*" for byte in data).removesuffix(r"\\*")]
    backslashed += [letter for letter, meant in {"n": "\n", "r": "\r", "t": "\t"}.items() if meant == char]
    forms = [
        rf"\\*{re.escape(char)}",
        rf"\\+(?i:{'|'.join(backslashed)})",
        f"(?i:{''.join(rf'%(?:25)*{byte:02x}' for byte in data)})",
        f"&(?i:#0*{code}|#x0*{code:x}|{codepoint2name.get(code, f'#{code}')});",
    ]
    return f"(?:{'|'.join(forms)})" if not char.isspace() else rf"(?:{'|'.join(forms)}|\s+)"
