"""What becomes of arguments, files and lines before they are published."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from tidewire.cli.cursor_file import CursorFile
from tidewire.cli.lines import Line, LineTooLong, read_lines
from tidewire.cli.payload import Data, Form, NotData, data_of_file, data_of_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "form", "json"),
    [
        ("Hello, world", Form.AUTO, '"Hello, world"'),
        ('{"a": [1.00, null]}', Form.AUTO, '{"a": [1.00, null]}'),
        (" 42\n", Form.AUTO, "42"),
        ("12345678901234567890", Form.AUTO, "12345678901234567890"),
        ("4 2", Form.AUTO, '"4 2"'),
        ("NaN", Form.AUTO, '"NaN"'),
        ("", Form.AUTO, '""'),
        ("ä→😀", Form.AUTO, '"ä→😀"'),
        ('say "hi"\n', Form.AUTO, '"say \\"hi\\"\\n"'),
        ("[" * 5000, Form.AUTO, '"' + "[" * 5000 + '"'),
        ("42", Form.TEXT, '"42"'),
        ('"42"', Form.JSON, '"42"'),
    ],
)
def test_text_becomes_data(text: str, form: Form, json: str) -> None:
    data, encoding = data_of_text(text.encode(), form)
    assert bytes(data).decode() == json
    assert encoding is None


@pytest.mark.parametrize(
    ("text", "form", "reason"),
    [
        (b"{", Form.JSON, "it is not JSON: "),
        (b"", Form.JSON, "it is not JSON: "),
        (b"a\xff", Form.AUTO, r"it is not UTF-8 \(byte 2\)"),
        (b"\xff", Form.TEXT, r"it is not UTF-8 \(byte 1\)"),
    ],
)
def test_what_is_no_data_is_refused(text: bytes, form: Form, reason: str) -> None:
    with pytest.raises(NotData, match=reason):
        data_of_text(text, form)


def binary(content: bytes) -> Data:
    text = base64.b64encode(content).decode()
    return Data(msgspec.Raw(msgspec.json.encode(text)), "base64")


@pytest.mark.parametrize(
    ("name", "content", "form", "data"),
    [
        ("a.json", b' {"x": 1.50}\n', Form.AUTO, Data(msgspec.Raw(b'{"x": 1.50}'))),
        ("a.geojson", b"[]", Form.AUTO, Data(msgspec.Raw(b"[]"))),
        ("a.txt", b"42\n", Form.AUTO, Data(msgspec.Raw(b'"42\\n"'))),
        ("a.svg", b"<svg/>", Form.AUTO, binary(b"<svg/>")),
        ("unknown", b"text\n", Form.AUTO, Data(msgspec.Raw(b'"text\\n"'))),
        ("unknown", b"\x00text", Form.AUTO, binary(b"\x00text")),
        ("unknown", b"\xff", Form.AUTO, binary(b"\xff")),
        ("a.png", b"text", Form.AUTO, binary(b"text")),
        ("a.png", b"[1]", Form.JSON, Data(msgspec.Raw(b"[1]"))),
        ("a.json", b"[1]", Form.TEXT, Data(msgspec.Raw(b'"[1]"'))),
    ],
)
def test_a_file_becomes_data_by_its_type(name: str, content: bytes, form: Form, data: Data) -> None:
    assert data_of_file(name, content, form) == data


@pytest.mark.parametrize(("name", "content"), [("a.json", b"{"), ("a.txt", b"\xff")])
def test_a_file_that_is_not_what_its_type_says_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(NotData):
        data_of_file(name, content, Form.AUTO)


# Lines


async def lines_of(descriptor: int) -> list[Line]:
    return [line async for lines in read_lines(descriptor) for line in lines]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_lines_of_a_file(end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n\nthree\r\n\xff" + b"x" * 600_000 + end)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert await lines_of(descriptor) == [
            Line(1, b"one"), Line(2, b""), Line(3, b"three"), Line(4, b"\xff" + b"x" * 600_000),
        ]  # fmt: skip
    finally:
        os.close(descriptor)


async def test_lines_of_a_pipe_come_as_they_are_written() -> None:
    ours, theirs = os.pipe()
    try:
        reading = read_lines(ours)
        os.write(theirs, b"one\ntw")
        assert await anext(reading) == [Line(1, b"one")]
        os.write(theirs, b"o\nthree\nfo")
        assert await anext(reading) == [Line(2, b"two"), Line(3, b"three")]
        os.close(theirs)
        assert await anext(reading) == [Line(4, b"fo")]
        with pytest.raises(StopAsyncIteration):
            await anext(reading)
    finally:
        os.close(ours)


async def test_no_input_at_all() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        assert await lines_of(descriptor) == []
    finally:
        os.close(descriptor)


async def test_a_line_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.cli.lines.LONGEST_LINE", 1 << 20)
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + b"x" * (2 << 20))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(LineTooLong, match="line 2 has more than 1048576 bytes"):
            await lines_of(descriptor)
    finally:
        os.close(descriptor)


# The cursor file


def test_a_cursor_file_keeps_the_last_cursor(tmp_path: Path) -> None:
    path = tmp_path / "cursor"
    file = CursorFile(path)
    assert file.cursor is None
    for cursor in ("e-1", "e-22222", "e-3", None, "e-3"):
        file.keep(cursor)
    file.close()
    again = CursorFile(path)
    assert again.cursor == "e-3"
    again.close()


def test_a_cursor_file_has_one_owner(tmp_path: Path) -> None:
    first = CursorFile(tmp_path / "cursor")
    with pytest.raises(BlockingIOError):
        CursorFile(tmp_path / "cursor")
    first.close()
    CursorFile(tmp_path / "cursor").close()


@pytest.mark.parametrize("content", [b"", b"\n", b"e-1", b"  \n"])
def test_a_cursor_file_that_holds_no_whole_line_is_a_new_one(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "cursor"
    path.write_bytes(content)
    file = CursorFile(path)
    assert file.cursor is None
    file.close()
