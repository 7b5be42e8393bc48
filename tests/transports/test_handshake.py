"""The WebSocket handshake: what is accepted, refused and agreed on."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.headers import parse_extension

from tidewire.model import BadRequest
from tidewire.transports.handshake import (
    Deflate,
    UnsupportedVersion,
    accept_key,
    agree_deflate,
    choose_subprotocol,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SPOKEN = {"tidewire.v1.json": False, "tidewire.v1.json.batch": True}


def asked(key: str | None = KEY, version: str | None = "13") -> dict[str, str]:
    """The headers of a handshake."""
    headers = {"sec-websocket-key": key, "sec-websocket-version": version}
    return {name: value for name, value in headers.items() if value is not None}


def test_the_example_of_the_rfc() -> None:
    assert accept_key(asked()) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "013", "13 ", "13, 8", "x"])
def test_other_versions_are_told_which_one_to_use(version: str | None) -> None:
    with pytest.raises(UnsupportedVersion) as raised:
        accept_key(asked(version=version))
    assert raised.value.status == 426
    assert raised.value.code == "websocket_version"


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "x",
        KEY[:-1],
        KEY + "=",
        KEY + "A",
        " " + KEY,
        "dGhlIHNhbXBsZSBub25jZQ",
        base64.b64encode(b"x" * 15).decode(),
        base64.b64encode(b"x" * 17).decode(),
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25j\xe9Q==",  # a header is Latin-1
        "\xe9",
    ],
)
def test_a_key_is_16_bytes_of_base64(key: str | None) -> None:
    with pytest.raises(BadRequest) as raised:
        accept_key(asked(key))
    assert raised.value.status == 400
    assert raised.value.code == "websocket_key"


@given(key=st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_key_is_accepted_or_refused(key: str) -> None:
    try:
        answer = accept_key(asked(key))
    except BadRequest:
        return
    assert len(base64.b64decode(key)) == 16
    assert len(base64.b64decode(answer)) == 20


# Subprotocols


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("", None),
        (",", None),
        ("tidewire.v1.json", "tidewire.v1.json"),
        ("tidewire.v1.json.batch", "tidewire.v1.json.batch"),
        ("tidewire.v1.json.batch, tidewire.v1.json", "tidewire.v1.json.batch"),
        ("tidewire.v1.json,tidewire.v1.json.batch", "tidewire.v1.json"),
        ("mqtt,  tidewire.v1.json ,x", "tidewire.v1.json"),
        ("mqtt", None),
        ("TIDEWIRE.V1.JSON", None),
        ("tidewire.v1", None),
        ("tidewire.v1.json.batch.batch", None),
    ],
)
def test_the_first_subprotocol_that_both_speak(offered: str | None, chosen: str | None) -> None:
    assert choose_subprotocol(offered, SPOKEN) == chosen


# Extensions

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "bits"),
    [
        ("permessage-deflate", 15),
        ("permessage-deflate; client_max_window_bits", 15),  # as browsers offer it
        ("permessage-deflate;client_max_window_bits=15", 15),
        ("permessage-deflate; client_max_window_bits=8", 15),
        ("permessage-deflate; server_max_window_bits=15", 15),
        ("permessage-deflate; server_max_window_bits=9", 9),
        ('permessage-deflate; server_max_window_bits="10"', 10),
        ("permessage-deflate ; server_max_window_bits = 12", 12),
        (PLAIN, 15),
        (PLAIN + "; server_max_window_bits=11; client_max_window_bits", 11),
        ("Permessage-Deflate", 15),
        ("x-webkit-deflate-frame, permessage-deflate", 15),
        ("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10", 10),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", 15),
        ("permessage-deflate; server_max_window_bits=14, permessage-deflate", 14),
    ],
)
def test_the_first_offer_that_can_be_accepted(offers: str, bits: int) -> None:
    agreed = agree_deflate(offers)
    assert agreed is not None
    assert agreed.window_bits == bits


@pytest.mark.parametrize(
    "parameters",
    [
        "unknown",
        "unknown=1",
        "",
        "=",
        "server_no_context_takeover=1",
        "server_no_context_takeover=",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=",
        "server_max_window_bits=8",  # zlib cannot
        "server_max_window_bits=7",
        'server_max_window_bits="10',
        'server_max_window_bits=""10""',
        'client_max_window_bits=10"',
        'client_max_window_bits="',
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=+9",
        "server_max_window_bits=9.0",
        "server_max_window_bits=-9",
        "server_max_window_bits=1\xb2",  # a superscript is a digit, but no number
        "server_max_window_bits=" + "9" * 5000,
        "client_max_window_bits=",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=\xb9",
        "client_max_window_bits=" + "1" * 5000,
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits",
        "server_no_context_takeover; server_no_context_takeover",
        "Server_No_Context_Takeover=x",
    ],
)
def test_an_offer_with_a_wrong_parameter_is_declined(parameters: str) -> None:
    assert agree_deflate(f"permessage-deflate; {parameters}") is None
    assert agree_deflate(f"permessage-deflate; {parameters}, permessage-deflate") == Deflate(
        15, limited=False
    )


@pytest.mark.parametrize(
    "offers", [None, "", ",", ";", "deflate", "x-webkit-deflate-frame", "permessage-deflate2"]
)
def test_without_an_offer_there_is_none(offers: str | None) -> None:
    assert agree_deflate(offers) is None


@given(offers=st.text(st.characters(max_codepoint=255), max_size=80))
def test_any_parameters_are_accepted_or_declined(offers: str) -> None:
    agreed = agree_deflate("permessage-deflate;" + offers)
    assert agreed is None or 9 <= agreed.window_bits <= 15


@pytest.mark.parametrize("bits", [None, *range(9, 16)])
def test_the_answer_is_what_another_client_takes(bits: int | None) -> None:
    ours = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)
    offer = "permessage-deflate; " + "; ".join(
        name if value is None else f"{name}={value}" for name, value in ours.get_request_params()
    )
    agreed = agree_deflate(offer)
    assert agreed == Deflate(bits or 15, limited=bits is not None)
    # A window that was asked for is confirmed, also the one that is the default.
    assert agreed.header == PLAIN + (f"; server_max_window_bits={bits}" if bits else "")
    ((_, parameters),) = parse_extension(agreed.header)
    extension = ours.process_response_params(parameters, [])
    assert isinstance(extension, PerMessageDeflate)
    assert extension.remote_max_window_bits == (bits or 15)
    assert extension.remote_no_context_takeover
    assert extension.local_no_context_takeover
