"""Every command with an https address, and an authority of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import Authority
from tests.cli.commands import Running, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server and the authority keep their files."""
    return tmp_path_factory.mktemp("https")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    """Who has issued the server's certificate."""
    return Authority(directory)


@pytest.fixture(scope="module")
def server(directory: Path, authority: Authority) -> Iterator[ServerProcess]:
    """A server that speaks TLS, and takes uploads."""
    pair = authority.issue()
    flags = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    server = serve(directory, *flags, "--upload-dir", str(directory / "uploads"))
    yield server
    server.kill()


@pytest.fixture
def trusting(server: ServerProcess, authority: Authority) -> dict[str, Any]:
    """The environment of who trusts the authority."""
    return {"TIDEWIRE_URL": server.url, "SSL_CERT_FILE": str(authority.file)}


@pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
def test_subscribing(trusting: dict[str, Any], transport: str) -> None:
    channel = f"https:{transport}"
    arguments = ["sub", channel, "--transport", transport, "--count", "2", "--since", "start"]
    assert run("pub", channel, "one", **trusting).code == 0
    with Running(*arguments, **trusting) as subscriber:
        while (line := subscriber.line())["type"] != "message":
            pass
        assert line["data"] == "one"
        assert run("pub", channel, "two", **trusting).code == 0
        assert subscriber.end().data == ["two"]


def test_the_other_commands(trusting: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(100_000))
    assert run("pub", "https:a", "text", **trusting).code == 0
    assert run("history", "https:a", **trusting).data == ["text"]
    assert run("upload", "https:files", str(file), **trusting).code == 0
    assert run("purge", "https:a", "--yes", **trusting).code == 0
    assert run("history", "https:a", **trusting).data == []


@pytest.mark.parametrize(
    "arguments",
    [["pub", "a", "1"], ["sub", "a"], ["sub", "a", "--transport", "sse"], ["history", "a"]],
    ids=" ".join,
)
def test_an_authority_that_is_not_trusted(server: ServerProcess, arguments: list[str]) -> None:
    """It is said at once, with what to do; trying again would not help."""
    result = run(*arguments, "--url", server.url)
    assert (result.code, result.out) == (1, "")
    assert "the server's certificate is not trusted" in result.err
    assert "SSL_CERT_FILE" in result.err


def test_http_where_https_is_spoken(server: ServerProcess) -> None:
    result = run("pub", "a", "1", "--url", server.url.replace("https", "http"))
    assert result.code == 1
    assert "this address speaks TLS: use https" in result.err
