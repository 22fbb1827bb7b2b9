import base64
import html
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InputError
from catalog.secrets import TOKENS, scrub, scrub_bytes, without_tokens
from catalog.tokens import check_tokens, hub_token

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "repr of repr": lambda text: repr(repr(text)),
    "JSON": json.dumps,
    "JSON of JSON": lambda text: json.dumps(json.dumps({"said": text})),
    "URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "URL of URL": lambda text: quote(quote(text, safe=""), safe=""),
    "small hexadecimal": lambda text: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in text),
    "HTML": html.escape,
    "numbered HTML": lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "URL-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
}
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60)


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(token=VISIBLE, before=st.text(max_size=7), after=st.text(max_size=7))
def test_a_secret_is_hidden_however_it_is_quoted(encoding: str, token: str, before: str, after: str) -> None:
    encode = ENCODINGS[encoding]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", token)
        left = scrub(f"{before} {encode(token)} {after}")
        assert token not in left and encode(token).strip("'\"") not in left
        within = scrub(encode(f"{before}:{token}@{after}"))
    # In base64 the characters at its ends stand for their neighbours as well.
    core = base64.b64encode(token.encode()).decode()[4:-4] if "base64" in encoding else encode(token).strip("'\"")
    assert token not in within and core not in within
    assert "***" in within


@pytest.mark.parametrize("char", ["\n", "\r\n", "é"])
def test_what_is_no_token_is_hidden_all_the_same(char: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token := f"hf_abcdef{char}ghijkl")
    assert scrub(f"Illegal header value {f'Bearer {token}'.encode()!r}") == "Illegal header value b'Bearer ***'"
    assert scrub(f"sent {token.replace(char, '') if char.isspace() else token}") == "sent ***"


def test_text_without_a_secret_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "100 % of C:\\new, &amp; and \u2028 too"
    assert scrub(text) == text
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    assert scrub(text) == text
    assert scrub_bytes(bytes(range(256)) + b"hf_abcdefghijkl") == bytes(range(256)) + b"***"


def test_passwords_in_addresses_and_the_token_that_the_client_keeps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pass%2Fword@proxy:3128")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:letmein")
    (tmp_path / "token").write_text("hf_kept_by_the_client\n")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://one:first-pass@index/a http://two:second-pass@index/b")
    said = "407 for http://me:pass%2Fword@proxy:3128 (pass/word); admin:letmein; hf_kept_by_the_client"
    assert scrub(said) == "407 for http://me:***@proxy:3128 (***); ***; ***"
    assert scrub("http://two:second-pass@index/b, first-pass") == "http://two:***@index/b, ***"


def test_an_error_quotes_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    assert str(InputError("the server says: Bearer hf_abcdefghijkl")) == "the server says: Bearer ***"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("hf_x\ny", "character 5 of 6 is a line break"),
        ("hf_abc def ghi", "a space"),
        ("hf_abcdefgh\x00", r"U\+0000"),
        ("hf_abcdefghé", r"U\+00E9"),
        ("hf_x", "4 characters"),
    ],
)
@pytest.mark.parametrize("name", TOKENS)
def test_what_cannot_be_a_token_is_refused_and_not_quoted(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {name: value})
    with pytest.raises(InputError, match=words) as caught:
        check_tokens()
    assert name in str(caught.value) and value not in str(caught.value)


@pytest.mark.parametrize(("value", "token"), [("", None), (" \n", None), ("hf_abcdefghijkl\n", "hf_abcdefghijkl")])
def test_space_around_a_token_is_nothing(value: str, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    assert hub_token() == token


def test_an_environment_without_tokens() -> None:
    assert without_tokens(dict.fromkeys(TOKENS, "hf_abcdefghijkl") | {"PATH": "/bin"}) == {"PATH": "/bin"}
