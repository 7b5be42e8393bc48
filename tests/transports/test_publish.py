"""From a publisher's bytes to drafts, and from receipts to answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import BadRequest, Draft, Receipt, TidewireError, TooLarge
from tidewire.transports.publish import (
    Limits,
    draft_of_body,
    drafts_of_json,
    receipt_json,
    recipient_of,
    results_json,
)

LIMITS = Limits(message_size=100, json_depth=8, batch=3)


def one(body: bytes, limits: Limits = LIMITS) -> Draft:
    """The draft of a body that is no batch."""
    drafts, batch = drafts_of_json(body, limits)
    assert not batch
    (draft,) = drafts
    return draft


def refusal(body: bytes, limits: Limits = LIMITS) -> TidewireError:
    """How *body* is refused."""
    with pytest.raises(TidewireError) as raised:
        drafts_of_json(body, limits)
    return raised.value


def parts(draft: Draft) -> tuple[object, ...]:
    """All that a draft says."""
    return draft.channel, draft.data, draft.event, draft.headers, draft.binary, draft.key


# One message as JSON


def test_the_least_that_a_publication_has() -> None:
    draft = one(b'{"channel":"news","data":1}')
    assert parts(draft) == ("news", b"1", None, None, False, None)


def test_all_that_a_publication_can_have() -> None:
    draft = one(
        b'{"channel":"news","data":"AP8=","event":"e","headers":{"a":"b"},"key":"k",'
        b'"encoding":"base64"}'
    )
    assert parts(draft) == ("news", b'"AP8="', "e", b'{"a":"b"}', True, "k")


def test_nulls_are_as_if_absent() -> None:
    draft = one(
        b'{"channel":"a","data":null,"event":null,"headers":null,"key":null,"encoding":null,'
        b'"ttl":null,"version":null}'
    )
    assert parts(draft) == ("a", b"null", None, None, False, None)
    assert (draft.ttl_ms, draft.version) == (None, None)


@pytest.mark.parametrize(
    ("ttl", "ttl_ms"),
    [(b"1", 1_000), (b"0.25", 250), (b"1e-9", 1), (b"315360000", 315_360_000_000)],
)
def test_a_time_to_live(ttl: bytes, ttl_ms: int) -> None:
    assert one(b'{"channel":"a","data":1,"ttl":%b}' % ttl).ttl_ms == ttl_ms


@pytest.mark.parametrize("ttl", [b"0", b"-1", b"315360000.1", b"1e300"])
def test_no_time_to_live(ttl: bytes) -> None:
    assert refusal(b'{"channel":"a","data":1,"ttl":%b}' % ttl).code == "invalid_ttl"


@pytest.mark.parametrize("version", [1, 2**53])
def test_a_version(version: int) -> None:
    assert one(b'{"channel":"a","data":1,"version":%d}' % version).version == version


@pytest.mark.parametrize("version", [0, -1, 2**53 + 1, 10**30])
def test_no_version(version: int) -> None:
    body = b'{"channel":"a","data":1,"version":%d}' % version
    assert refusal(body).code in ("invalid_version", "malformed")


def test_time_to_live_and_version_in_a_batch() -> None:
    drafts, _ = drafts_of_json(
        b'{"messages":[{"channel":"a","data":1,"ttl":2},{"channel":"b","data":1,"version":3}]}',
        LIMITS,
    )
    assert [(draft.ttl_ms, draft.version) for draft in drafts] == [(2_000, None), (None, 3)]
    error = refusal(b'{"messages":[{"channel":"a","data":1,"ttl":0}]}')
    assert (error.code, error.detail.split(":")[0]) == ("invalid_ttl", "messages[0]")


def test_empty_headers_are_none() -> None:
    assert one(b'{"channel":"a","data":1,"headers":{}}').headers is None


@pytest.mark.parametrize(
    "data",
    [b"1.50", b"1e300", b"12345678901234567890123", b'{"b":1,"a":2,"b":3}', b'"\\u00e9"', b"{ }"],
)
def test_data_stays_the_publishers_own_text(data: bytes) -> None:
    assert one(b'{"channel":"a","data":%b}' % data).data == data


def test_data_is_on_one_line() -> None:
    data = one(b'{"channel":"a","data":{\r\n  "a": "x\\ny",\r  "b": [1,\n2]}}').data
    assert b"\n" not in data
    assert b"\r" not in data
    assert json.loads(data) == {"a": "x\ny", "b": [1, 2]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}",
        b'{"channel":"a"}',
        b'{"data":1}',
        b'{"channel":null,"data":1}',
        b'{"channel":"a","data":}',
        b'{"channel":"a","data":01}',
        b'{"channel":"a","data":NaN}',
        b"{'channel':'a','data':1}",
        b'{"channel":"a","data":1}x',
        b'{"channel":"a","data":1,"unknown":1}',
        b'{"channel":1,"data":1}',
        b'{"channel":["a"],"data":1}',
        b'{"channel":"a","data":1,"event":1}',
        b'{"channel":"a","data":1,"headers":{"a":1}}',
        b'{"channel":"a","data":1,"headers":[]}',
        b'{"channel":"a","data":1,"key":5}',
        b'{"channel":"a","data":"x","encoding":"hex"}',
        b'{"channel":"a","data":"\xff"}',
        b'{"channel":"a","data":"\\ud800"}',
        b'{"channel":"a","data":1,"messages":[]}',
        b'{"channel":"a","messages":[]}',
        b'{"data":1,"messages":[]}',
        b'{"messages":1}',
        b'{"messages":[1]}',
        b'{"messages":[{"channel":"a"}]}',
        b'{"messages":[{"channel":"a","data":1,"unknown":1}]}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_publication(body: bytes) -> None:
    error = refusal(body)
    assert isinstance(error, BadRequest)
    assert error.code == "malformed"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ('"channel":"","data":1', "invalid_channel"),
        ('"channel":"a b","data":1', "invalid_channel"),
        ('"channel":"a","data":1,"event":""', "invalid_event"),
        ('"channel":"a","data":1,"event":"a\\nb"', "invalid_event"),
        ('"channel":"a","data":1,"event":"tidewire.ready"', "invalid_event"),
        ('"channel":"a","data":1,"event":"%s"' % ("x" * 129), "invalid_event"),
        ('"channel":"a","data":1,"key":""', "invalid_key"),
        ('"channel":"a","data":1,"key":"%s"' % ("x" * 256), "invalid_key"),
        ('"channel":"a","data":"AP8","encoding":"base64"', "invalid_base64"),
        ('"channel":"a","data":5,"encoding":"base64"', "invalid_base64"),
        ('"channel":"a","data":[[[[[[[[]]]]]]]]', "too_deep"),
    ],
)
def test_fields_that_are_wrong(fields: str, code: str) -> None:
    assert refusal(b"{%b}" % fields.encode(), Limits(1000, 8)).code == code
    if code != "too_deep":
        error = refusal(b'{"messages":[{"channel":"a","data":1},{%b}]}' % fields.encode())
        assert error.code == code
        assert error.detail.startswith("messages[1]: ")


def test_the_size_of_a_message_is_that_of_data_and_headers() -> None:
    assert one(b'{"channel":"a","data":"%b"}' % (b"x" * 98)).data == b'"%b"' % (b"x" * 98)
    assert isinstance(refusal(b'{"channel":"a","data":"%b"}' % (b"x" * 99)), TooLarge)
    headers = b'{"channel":"a","data":"%b","headers":{"a":"b"}}'
    assert one(headers % (b"x" * 89)).headers == b'{"a":"b"}'
    assert isinstance(refusal(headers % (b"x" * 90)), TooLarge)


def test_white_space_around_the_data_does_not_count() -> None:
    assert one(b'{"channel":"a","data":' + b" " * 500 + b"1}").data == b"1"


# Batches


def test_a_batch_in_its_order() -> None:
    drafts, batch = drafts_of_json(
        b'{"messages":[{"channel":"b","data":1},{"channel":"a","data":2,"key":"k"}]}', LIMITS
    )
    assert batch
    assert [(draft.channel, draft.data, draft.key) for draft in drafts] == [
        ("b", b"1", None),
        ("a", b"2", "k"),
    ]


def test_an_empty_batch() -> None:
    assert drafts_of_json(b'{"messages":[]}', LIMITS) == ([], True)


def test_a_batch_has_a_greatest_length() -> None:
    def batch(count: int) -> bytes:
        return b'{"messages":[%b]}' % b",".join([b'{"channel":"a","data":1}'] * count)

    assert len(drafts_of_json(batch(3), LIMITS)[0]) == 3
    assert isinstance(refusal(batch(4)), TooLarge)


def test_a_message_of_a_batch_has_its_own_limit() -> None:
    item = b'{"channel":"a","data":"%b"}' % (b"x" * 90)
    assert len(drafts_of_json(b'{"messages":[%b,%b]}' % (item, item), LIMITS)[0]) == 2
    error = refusal(b'{"messages":[%b,{"channel":"a","data":"%b"}]}' % (item, b"x" * 99))
    assert isinstance(error, TooLarge)
    assert error.detail.startswith("messages[1]: ")


@given(
    body=st.binary(max_size=60) | st.text(max_size=60).map(lambda s: b'{"channel":' + s.encode())
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        drafts_of_json(body, LIMITS)
    except TidewireError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - any other way it must not end


# Bodies of any type


def body_draft(content_type: str, body: bytes, **names: str) -> Draft:
    """The draft of a body published to the channel "a"."""
    given = {name: names.get(name) for name in ("event", "key", "ttl", "version")}
    return draft_of_body("a", content_type, body, LIMITS, **given)


@pytest.mark.parametrize(
    ("content_type", "body", "data", "binary"),
    [
        ("application/json", b"1.50", b"1.50", False),
        ("application/json; charset=utf-8", b' {"a": 1}\n', b'{"a": 1}', False),
        ("Application/JSON", b"null", b"null", False),
        ("application/ld+json", b"[1]", b"[1]", False),
        ("text/plain", b"hello", b'"hello"', False),
        ("text/plain; charset=utf-8", "é".encode(), '"é"'.encode(), False),
        ("text/html", b'<a href="x">\r\n', b'"<a href=\\"x\\">\\r\\n"', False),
        ("application/xml", b"<a/>", b'"<a/>"', False),
        ("text/plain", b"", b'""', False),
        ("application/octet-stream", b"\x00\xff", b'"AP8="', True),
        ("image/png", b"", b'""', True),
        ("", b"\x00\xff", b'"AP8="', True),
        ("application/xhtml+xml-ish", b"\x00", b'"AA=="', True),
    ],
)
def test_a_body_of_any_type(content_type: str, body: bytes, data: bytes, binary: bool) -> None:
    draft = body_draft(content_type, body)
    assert parts(draft) == ("a", data, None, None, binary, None)


def test_what_stands_in_the_url_of_a_body() -> None:
    draft = body_draft("text/plain", b"x", event="e", key="k", ttl="1.5", version="7")
    assert (draft.event, draft.key, draft.ttl_ms, draft.version) == ("e", "k", 1_500, 7)


@pytest.mark.parametrize(
    "names",
    [
        {"event": ""},
        {"event": "tidewire.x"},
        {"key": ""},
        *({"ttl": text} for text in ("", "0", "0.0", "-1", "1e3", "nan", "315360001", "\u0665")),
        *({"version": text} for text in ("", "0", "-1", "1.0", "9007199254740993", "9" * 5_000)),
    ],
)
def test_wrong_names_of_a_body(names: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        body_draft("text/plain", b"x", **names)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"1 2"),
        ("application/json", b'"\xff"'),
        ("application/json", b'"\\udc00"'),
        ("application/json", b"[" * 50),
        ("text/plain", b"\xff"),
        ("application/x-www-form-urlencoded", b"\xff"),
    ],
)
def test_bodies_that_are_not_what_their_type_says(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        body_draft(content_type, body)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png"])
def test_the_size_of_a_body(content_type: str) -> None:
    assert body_draft(content_type, b"1" * 100).data
    with pytest.raises(TooLarge):
        body_draft(content_type, b"1" * 101)


def test_the_channel_of_a_body() -> None:
    with pytest.raises(BadRequest):
        draft_of_body(
            "a b", "text/plain", b"", LIMITS, event=None, key=None, ttl=None, version=None
        )


# Answers


def test_the_answer_to_one() -> None:
    assert receipt_json("e", Receipt("news", 5, 2)) == b'{"channel":"news","id":"e-5","seq":2}'


def test_the_answer_to_a_batch() -> None:
    assert results_json("e", []) == b'{"results":[]}'
    assert results_json("e", [Receipt("b", 5, 2), Receipt("a", 6, 1)]) == (
        b'{"results":[{"channel":"b","id":"e-5","seq":2},{"channel":"a","id":"e-6","seq":1}]}'
    )


# To whom


def many(fields: str, limits: Limits = LIMITS) -> tuple[list[str], bool]:
    """The channels of the drafts of a body with *fields*, and whether its answer is a list."""
    drafts, listed = drafts_of_json(b'{"data":1,%b}' % fields.encode(), limits)
    assert {draft.data for draft in drafts} == {b"1"}
    return [draft.channel for draft in drafts], listed


def test_a_message_to_a_user() -> None:
    assert many('"user":"42"') == (["user:#42"], False)
    assert many('"user":"42","device":"tv"') == (["user:tv#42"], False)


def test_a_message_to_everybody() -> None:
    assert many('"all":true') == (["@all"], False)


def test_a_message_to_some() -> None:
    assert many('"users":["1","2","1"]') == (["user:#1", "user:#2"], True)
    assert many('"channels":["b","a"]') == (["b", "a"], True)
    assert many('"channels":["b"]') == (["b"], True)


def test_messages_of_a_batch_to_some() -> None:
    body = b'{"messages":[{"users":["1","2"],"data":1,"key":"k"},{"channel":"a","data":2}]}'
    drafts, listed = drafts_of_json(body, LIMITS)
    assert listed
    assert [(draft.channel, draft.data, draft.key) for draft in drafts] == [
        ("user:#1", b"1", "k"),
        ("user:#2", b"1", "k"),
        ("a", b"2", None),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        '"channel":"a","user":"1"',
        '"user":"1","users":["2"]',
        '"channels":["a"],"all":true',
        '"channel":"a","all":true',
        '"channel":"a","device":"tv"',
        '"users":["1"],"device":"tv"',
        '"users":[]',
        '"channels":[]',
        '"user":""',
        '"user":"%s"' % ("x" * 256),
        '"user":"1","device":""',
        '"users":["1",""]',
    ],
)
def test_it_goes_one_way(fields: str) -> None:
    error = refusal(b'{"data":1,%b}' % fields.encode())
    assert isinstance(error, BadRequest)
    assert error.code == "invalid_recipient"


@pytest.mark.parametrize("name", ["a b", "@me", ""])
def test_each_of_several_is_a_channel(name: str) -> None:
    error = refusal(b'{"data":1,"channels":["a","%b"]}' % name.encode())
    assert error.code == "invalid_channel"


@pytest.mark.parametrize("fields", ['"channel":"@presence:a"', '"channels":["a","@presence:a"]'])
def test_nobody_speaks_for_the_server(fields: str) -> None:
    assert refusal(b'{"data":1,%b}' % fields.encode()).code == "forbidden"


def test_some_are_not_too_many() -> None:
    limits = Limits(message_size=100, json_depth=8, recipients=2)
    assert len(many('"users":["1","2"]', limits)[0]) == 2
    error = refusal(b'{"data":1,"users":["1","2","3"]}', limits)
    assert isinstance(error, TooLarge)
    assert "2 channels" in error.detail


def test_copies_are_not_too_large_together() -> None:
    limits = Limits(message_size=100, json_depth=8, copies=20)
    assert len(drafts_of_json(b'{"data":12345,"users":["1","2","3","4"]}', limits)[0]) == 4
    assert isinstance(refusal(b'{"data":123456,"users":["1","2","3","4"]}', limits), TooLarge)
    part = b'{"data":123456,"users":["1","2"]}'
    assert isinstance(refusal(b'{"messages":[%b,%b]}' % (part, part), limits), TooLarge)


def test_a_batch_has_a_greatest_length_with_all_its_copies() -> None:
    body = b'{"messages":[{"data":1,"users":["1","2"]},{"data":1,"users":["1","2"]}]}'
    assert isinstance(refusal(body), TooLarge)


def test_recipients_in_a_url() -> None:
    assert recipient_of({"channel": "a"}) == "a"
    assert recipient_of({"user": "42"}) == "user:#42"
    assert recipient_of({"user": "42", "device": "tv"}) == "user:tv#42"
    assert recipient_of({"all": "true"}) == "@all"
    for wrong in ({}, {"all": "false"}, {"all": "yes"}, {"channel": "a", "user": "42"}):
        with pytest.raises(BadRequest):
            recipient_of(wrong)
