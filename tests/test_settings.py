"""Settings: each source, their order, every error's words, and what is written down about them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tidewire.settings import NamespaceSettings, Settings, SettingsError, load
from tidewire.settings.describe import allowed, flag_name, variable_name
from tidewire.settings.document import (
    TABLE_END,
    TABLE_START,
    default_file,
    effective_file,
    put_table,
    to_toml,
)
from tidewire.settings.fields import SECTIONS

CONFIGURATION = Path(__file__).parents[1] / "docs" / "configuration.md"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def write(directory: Path, text: str, name: str = "tidewire.toml") -> Path:
    path = directory / name
    path.write_text(text, "utf-8")
    return path


def problems(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    directory: Path = Path("/nonexistent"),
    config: Path | None = None,
) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(flags, environ or {}, directory=directory, config=config)
    return list(raised.value.problems)


# Sources and their order


def test_defaults_hold_without_any_source(directory: Path) -> None:
    loaded = load({}, {}, directory=directory)
    assert loaded.settings == Settings()
    assert loaded.file is None
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}


def test_flags_come_before_variables_before_the_file(directory: Path) -> None:
    path = write(directory, "port = 1\npoll_interval = 11\nsse_retry = 111\n")
    environ = {"TIDEWIRE_POLL_INTERVAL": "22", "TIDEWIRE_SSE_RETRY": "222", "HOME": "/root"}
    loaded = load({"sse_retry": "333", "port": None}, environ, directory=directory)
    settings = loaded.settings
    assert (settings.port, settings.poll_interval, settings.sse_retry) == (1, 22, 333)
    assert {name: str(loaded.origins[name]) for name in ("port", "poll_interval", "sse_retry")} == {
        "port": str(path),
        "poll_interval": "TIDEWIRE_POLL_INTERVAL",
        "sse_retry": "--sse-retry",
    }


def test_the_file_can_be_elsewhere(directory: Path) -> None:
    write(directory, "port = 1\n")
    write(directory, "port = 2\n", "by_variable.toml")
    by_flag = write(directory, "port = 3\n", "by_flag.toml")
    environ = {"TIDEWIRE_CONFIG": "by_variable.toml"}
    assert load({}, {}, directory=directory).settings.port == 1
    assert load({}, environ, directory=directory).settings.port == 2
    assert load({}, environ, directory=directory, config=by_flag).settings.port == 3


def test_the_variable_of_the_other_commands_is_known(directory: Path) -> None:
    assert load({}, {"TIDEWIRE_URL": "http://h"}, directory=directory).settings == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "0", 0),
        ("history_ttl", "0.5", 0.5),
        ("history_ttl", "1e3", 1000.0),
        ("console", "no", False),
        ("echo", "TRUE", True),
        ("insecure", "0", False),
        ("allowed_origins", "https://a.example, https://b.example,", ("https://a.example", "https://b.example")),
        ("allowed_origins", "", ()),
        ("log_level", "debug", "debug"),
        ("path_prefix", "", ""),
        ("path_prefix", "/a/b-c", "/a/b-c"),
        ("engine", "sqlite:////var/lib/tidewire/log.db", "sqlite:////var/lib/tidewire/log.db"),
        ("engine", "rediss://:secret@cache/1", "rediss://:secret@cache/1"),
        ("engine", "redis+cluster://a,b:7000?prefix=x", "redis+cluster://a,b:7000?prefix=x"),
        ("host", "::1", "::1"),
        ("host", "localhost", "localhost"),
        ("namespaces", '{"chat":{"history_size":5}}', {"chat": NamespaceSettings(history_size=5)}),
    ],
)  # fmt: skip
def test_text_becomes_values_of_the_right_type(
    name: str, text: str, value: Any, directory: Path
) -> None:
    by_flag = load({name: text}, {}, directory=directory).settings
    by_variable = load({}, {variable_name(name): text}, directory=directory).settings
    assert getattr(by_flag, name) == getattr(by_variable, name) == value
    assert type(getattr(by_flag, name)) is type(value)


def test_namespaces_in_a_file_are_tables(directory: Path) -> None:
    write(directory, '[namespaces.chat]\nhistory_size = 5\n[namespaces."a/b"]\nhistory_ttl = 1\n')
    assert load({}, {}, directory=directory).settings.namespaces == {
        "chat": NamespaceSettings(history_size=5),
        "a/b": NamespaceSettings(history_ttl=1),
    }


def test_lists_in_a_file_are_arrays_or_text(directory: Path) -> None:
    write(directory, 'allowed_hosts = ["a", "b"]\nallowed_origins = "x, y"\n')
    settings = load({}, {}, directory=directory).settings
    assert settings.allowed_hosts == ("a", "b")
    assert settings.allowed_origins == ("x", "y")


def test_a_byte_order_mark_does_no_harm(directory: Path) -> None:
    (directory / "tidewire.toml").write_bytes(b"\xef\xbb\xbfport = 7\n")
    assert load({}, {}, directory=directory).settings.port == 7


# Errors


PORT = "a whole number from 0 to 65535"
TIMEOUT = "a number of seconds above 0 and up to 86400"
PREFIX = "nothing, or a path such as /realtime, without a slash at its end"
HOST = "an IP address or a host name"
NEITHER = "it is neither an IP address nor a host name"


@pytest.mark.parametrize(
    ("name", "text", "shown", "takes"),
    [
        ("port", "99999", "99999", PORT),
        ("port", "http", '"http"', PORT),
        ("port", "8_480", '"8_480"', PORT),
        ("port", " 8480", '" 8480"', PORT),
        ("port", "", '""', PORT),
        ("head_timeout", "0", "0.0", TIMEOUT),
        ("head_timeout", "nan", "NaN", TIMEOUT),
        ("head_timeout", "inf", "Infinity", TIMEOUT),
        ("sse_retry", "1.5", '"1.5"', "a whole number of milliseconds from 0 to 600000"),
        ("echo", "maybe", '"maybe"', "true or false"),
        ("log_level", "loud", '"loud"', "debug, info, warning or error"),
        ("path_prefix", "a/", '"a/"', PREFIX),
        ("path_prefix", "/a\n", '"/a\\n"', PREFIX),
        ("namespaces", "[", '"["', "a table for each namespace (as a flag or a variable: JSON)"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_is_allowed(
    name: str, text: str, shown: str, takes: str
) -> None:
    end = f"is not allowed; it takes {takes}"
    assert problems({name: text}) == [f"{name}: {shown} (from {flag_name(name)}) {end}"]
    variable = variable_name(name)
    assert problems({}, {variable: text}) == [f"{name}: {shown} (from {variable}) {end}"]


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1:80", "the port is a setting of its own: --port 80"),
        ("a b", NEITHER),
        ("", NEITHER),
        ("http://127.0.0.1", NEITHER),
    ],
)
def test_a_host_is_no_more_than_a_host(host: str, why: str) -> None:
    assert problems({"host": host}) == [
        f'host: "{host}" (from --host) is not allowed ({why}); it takes {HOST}'
    ]


@pytest.mark.parametrize("network", ["nonsense", "10.0.0.0/33", "10.0.0", "::1/129"])
def test_a_proxy_is_an_address_or_a_network(network: str) -> None:
    (problem,) = problems({"trusted_proxies": f"10.0.0.0/8, ::1, {network}"})
    assert f"('{network}' is neither an address nor a network)" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"chat":3}',
            (
                "namespaces.chat: 3 (from --namespaces) is not allowed; "
                "it takes a table of history_size, history_ttl, "
                "slow_policy, conflate_by, coalesce, presence, allow_subscribe, allow_publish, "
                "allow_history, allow_presence"
            ),
        ),
        (
            '{"a:b":{}}',
            (
                "namespaces.a:b: (from --namespaces) "
                "a namespace has 1 to 254 characters of A-Z a-z 0-9 _ - . / @ #"
            ),
        ),
        (
            '{"chat":{"histry_size":3}}',
            (
                "namespaces.chat.histry_size: unknown key (from --namespaces); "
                "did you mean history_size?"
            ),
        ),
        (
            '{"chat":{"history_size":-1}}',
            (
                "namespaces.chat.history_size: -1 (from --namespaces) is not allowed; "
                "it takes a whole number of messages from 0 to 100000000"
            ),
        ),
    ],
)
def test_what_is_wrong_in_a_namespace_is_named(text: str, problem: str) -> None:
    assert problems({"namespaces": text}) == [problem]


def test_settings_that_do_not_fit_together() -> None:
    assert problems({"min_poll_interval": "5"}) == [
        (
            "min_poll_interval: 5.0 (from --min-poll-interval): it is above poll_interval, "
            "so clients that keep to the interval would be refused"
        )
    ]


@pytest.mark.parametrize(
    ("given", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")]
)
def test_a_certificate_and_its_key_go_together(given: str, missing: str) -> None:
    assert problems({given: "file.pem"}) == [
        (
            f'{given}: "file.pem" (from {flag_name(given)}): {missing} is missing: a certificate '
            f"is of use with its key only; set both ({flag_name(missing)}), or neither"
        )
    ]


@pytest.mark.parametrize(("given", "taken"), [("1", 1), ("256", 256), ("auto", "auto")])
def test_a_number_of_workers(given: str, taken: object) -> None:
    assert load({"workers": given}, {}).settings.workers == taken


@pytest.mark.parametrize("given", ["0", "257", "1.5", "true", "many", ""])
def test_no_number_of_workers(given: str) -> None:
    (problem,) = problems({"workers": given})
    assert problem.endswith("it takes a whole number from 1 to 256, or auto")


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_a_log_in_memory_is_for_one_worker(workers: str) -> None:
    (problem,) = problems({"workers": workers}, {"TIDEWIRE_ENGINE": "memory:"})
    shown = workers if workers == "2" else f'"{workers}"'
    assert problem.startswith(f"workers: {shown} (from --workers): a log in memory")
    assert "set engine to sqlite:///" in problem
    assert load({"workers": "1", "engine": "memory:"}, {}).settings.workers == 1


def test_cookies_are_not_for_every_page() -> None:
    [problem] = problems({"token_cookie": "session", "allowed_origins": "*"})
    assert problem.startswith('token_cookie: "session" (from --token-cookie): with * in allowed')


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ("mysql://localhost", "no such engine"),
        ("redisx://localhost", "no such engine"),
        ("valkey://localhost", "a Valkey server is named as a Redis is, redis://"),
        (
            "redis://a,b",
            "redis:// takes one server; several are redis+sentinel:// or redis+cluster://",
        ),
        (
            "redis+sentinel://a",
            "redis+sentinel:// needs the name of what the sentinels watch: add ?master=NAME",
        ),
        ("redis://a/x", "the database is a whole number from 0 to 1000000, not 'x'"),
        ("sqlite://log.db", "no such engine"),
        ("memory", "no such engine"),
        ("", "no such engine"),
        ("sqlite:///", "the path of the database file is missing"),
        ("sqlite:////", "the path of the database file is missing"),
        ("sqlite:///data/", "that is no path of a file"),
        ("sqlite:///:memory:", "for a log in memory write memory:"),
    ],
)
def test_another_engine_names_the_allowed_forms(engine: str, why: str) -> None:
    [problem] = problems({}, {"TIDEWIRE_ENGINE": engine})
    assert problem == (
        f'engine: "{engine}" (from TIDEWIRE_ENGINE) is not allowed ({why}); '
        "it takes memory:, sqlite:///relative.db, sqlite:////absolute.db, "
        "redis://HOST:PORT/DATABASE, redis+unix:///PATH, "
        "redis+sentinel://HOST:PORT,HOST:PORT?master=NAME or "
        "redis+cluster://HOST:PORT,HOST:PORT (with rediss instead of redis: encrypted)"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.1"])
def test_other_machines_are_kept_out_unless_asked_for(host: str) -> None:
    [problem] = problems({}, {"TIDEWIRE_HOST": host})
    assert problem == (
        f'host: "{host}" (from TIDEWIRE_HOST): other machines could publish and subscribe there, '
        "because nobody has to show who they are; set api_key (TIDEWIRE_API_KEY) for back ends or "
        "token_secret (TIDEWIRE_TOKEN_SECRET) for users, take a loopback address such as "
        "127.0.0.1, or set --insecure (TIDEWIRE_INSECURE=true) to allow everyone"
    )
    assert load({"host": host, "insecure": True}, {}).settings.host == host


@pytest.mark.parametrize(
    "credentials",
    [
        {"api_key": "k"},
        {"api_keys_file": "keys.toml"},
        {"token_secret": "s"},
        {"token_key_file": "key.pem"},
        {"token_jwks_url": "https://issuer.example/jwks"},
    ],
)
def test_other_machines_come_in_where_credentials_are_asked_for(
    credentials: dict[str, str],
) -> None:
    assert load({"host": "0.0.0.0", **credentials}, {}).settings.has_credentials


@pytest.mark.parametrize("name", ["api_key", "token_secret"])
def test_a_secret_is_never_shown(name: str, directory: Path) -> None:
    loaded = load({name: "s3cret"}, {}, directory=directory)
    assert f'{name} = "***"' in effective_file(loaded)
    assert "s3cret" not in effective_file(loaded)
    write(directory, f'{name} = ["s3cret"]\n')
    [problem] = problems({}, {}, directory=directory)
    assert problem.startswith(f"{name}: what is set (from ")
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://issuer.example/jwks", "use https"),
        ("ftp://issuer.example/jwks", "that is no address"),
        ("https://", "that is no address"),
        ("https://[::1/jwks", "that is no address"),
    ],
)
def test_keys_come_from_where_nobody_can_put_in_their_own(url: str, why: str) -> None:
    [problem] = problems({"token_jwks_url": url})
    assert why in problem
    assert load({"token_jwks_url": "http://127.0.0.1:1/jwks"}, {}).settings.has_credentials


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_consent(host: str, directory: Path) -> None:
    assert load({"host": host}, {}, directory=directory).settings.host == host


def test_an_unknown_key_of_the_file(directory: Path) -> None:
    path = write(directory, 'poll-interval = 5\n[server]\nport = 1\n[namespaces.a]\nsize = "x"\n')
    otherwise = "`tidewire config --defaults` shows every setting"
    assert problems(directory=directory) == [
        f'{path}: unknown key "poll-interval"; did you mean poll_interval?',
        f'{path}: unknown key "server"; {otherwise}',
        f"namespaces.a.size: unknown key (from {path}); {otherwise}",
    ]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("TIDEWIRE_PROT", "did you mean TIDEWIRE_PORT?"),
        ("TIDEWIRE_CONFG", "did you mean TIDEWIRE_CONFIG?"),
        ("TIDEWIRE_X", "`tidewire config --defaults` shows every setting"),
    ],
)
def test_an_unknown_variable(name: str, end: str) -> None:
    assert problems({}, {name: "1"}) == [f"{name}: unknown variable; {end}"]


@pytest.mark.parametrize(
    "text", ['port = "8480"', "port = true", "port = 8480.0", "console = 1", "history_ttl = '5'"]
)
def test_a_file_has_types(text: str, directory: Path) -> None:
    path = write(directory, text)
    [problem] = problems(directory=directory)
    assert f"(from {path}) is not allowed; it takes " in problem


def test_files_that_cannot_be_read(directory: Path) -> None:
    missing = directory / "missing.toml"
    assert problems(config=missing) == [f"{missing}: cannot be read: No such file or directory"]
    assert problems({}, {"TIDEWIRE_CONFIG": str(missing)}) == [
        f"{missing}: cannot be read: No such file or directory"
    ]
    assert problems(config=directory) == [f"{directory}: cannot be read: Is a directory"]
    broken = write(directory, "port = \n", "broken.toml")
    assert problems(config=broken) == [f"{broken}: not TOML: Invalid value (at line 1, column 8)"]
    latin = directory / "latin.toml"
    latin.write_bytes(b'host = "\xe4"\n')
    assert problems(config=latin) == [f"{latin}: not UTF-8 at byte 8"]


def test_text_that_cannot_be_written_down() -> None:
    assert problems({"engine": "sqlite:///\udcff"}) == ["--engine: not UTF-8"]
    environ = {"TIDEWIRE_ALLOWED_ORIGINS": "https://\udce4.example"}
    assert problems({}, environ) == ["TIDEWIRE_ALLOWED_ORIGINS: not UTF-8"]
    half = r'{"a": {"conflate_by": "\ud800"}}'
    [problem] = problems({}, {"TIDEWIRE_NAMESPACES": half})
    assert problem.startswith("namespaces: ")


def test_all_problems_are_told_at_once(directory: Path) -> None:
    write(directory, "port = -1\nprot = 1\n")
    environ = {"TIDEWIRE_ECHO": "x", "TIDEWIRE_ECO": "true"}
    told = problems({"engine": "mysql:"}, environ, directory)
    assert [problem.split(": ")[0] for problem in told] == [
        str(directory / "tidewire.toml"),
        "TIDEWIRE_ECO",
        "port",
        "engine",
        "echo",
    ]


def test_a_long_value_is_cut() -> None:
    [problem] = problems({"log_level": "x" * 1000})
    assert f'"{"x" * 80}…"' in problem
    assert len(problem) < 200


# The model itself


def test_settings_take_no_notice_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWIRE_PORT", "1")
    assert Settings().port == 8480


def test_settings_are_frozen_and_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1
    with pytest.raises(ValidationError, match="other machines"):
        Settings(host="0.0.0.0")


def test_defaults_are_allowed_values() -> None:
    assert Settings.model_validate(Settings().model_dump()) == Settings()


def test_each_setting_stands_in_one_section_in_order() -> None:
    assert [name for section in SECTIONS for name in section.model_fields] == list(
        Settings.model_fields
    )
    assert all(section.__doc__ for section in SECTIONS)


def test_each_setting_says_what_it_is_and_what_it_takes() -> None:
    for info in [*Settings.model_fields.values(), *NamespaceSettings.model_fields.values()]:
        assert info.description
        assert allowed(info)


def test_names_of_flags_and_variables() -> None:
    assert flag_name("poll_interval") == "--poll-interval"
    assert variable_name("poll_interval") == "TIDEWIRE_POLL_INTERVAL"


# What is written down


def test_the_default_file_parses_back_to_exactly_the_defaults(directory: Path) -> None:
    text = default_file()
    assert set(tomllib.loads(text)) == set(Settings.model_fields)
    write(directory, text)
    loaded = load({}, {}, directory=directory)
    assert loaded.settings == Settings()
    assert {origin.source for origin in loaded.origins.values()} == {"file"}


def test_the_default_file_explains_each_setting() -> None:
    text = default_file()
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.replace("#", " ").split())
    for name, info in Settings.model_fields.items():
        what = info.description or ""
        start = f"{what[0].upper()}{what[1:]}. Takes {allowed(info)}."
        assert " ".join(f"{start} {'' if name == 'namespaces' else f'{name} ='}".split()) in words


def test_the_effective_file_parses_back_to_the_settings(directory: Path) -> None:
    loaded = load(
        {
            "port": "1",
            "allowed_hosts": 'a"b,c\\d',
            "namespaces": '{"a/b":{"history_size":3},"c":{"history_ttl":0.25}}',
        },
        {"TIDEWIRE_POLL_INTERVAL": "2.5"},
        directory=directory,
    )
    text = effective_file(loaded)
    again = write(directory, text, "again.toml")
    assert load({}, {}, config=again).settings == loaded.settings
    assert "port = 1 " in text
    for comment in ("# --port", "# TIDEWIRE_POLL_INTERVAL", "# default", "# --namespaces"):
        assert comment in text


def test_the_password_of_the_engine_is_not_shown() -> None:
    loaded = load({"engine": "redis://app:very-secret@cache/1"}, {})
    text = effective_file(loaded)
    assert 'engine = "redis://app:***@cache/1"' in text
    assert "very-secret" not in text
    environ = {"TIDEWIRE_ENGINE": "redis://:very-secret@cache/x"}
    [problem] = problems({}, environ)
    assert problem.startswith(
        'engine: "redis://:***@cache/x" (from TIDEWIRE_ENGINE) is not allowed'
    )
    assert "very-secret" not in problem


@pytest.mark.parametrize("value", ["", 'a"b\\c', "tab\tline\nbell\x07del\x7f", "ä→😀", " "])
def test_text_survives_toml(value: str) -> None:
    assert tomllib.loads(f"key = {to_toml(value)}") == {"key": value}


@pytest.mark.parametrize("value", [0.1, 1e-5, 3600.0, 1e15 + 0.5, 7, True, ("a", "b"), ()])
def test_values_survive_toml(value: Any) -> None:
    read = tomllib.loads(f"key = {to_toml(value)}")["key"]
    assert read == (list(value) if isinstance(value, tuple) else value)


def test_the_documents_table_is_current() -> None:
    text = CONFIGURATION.read_text("utf-8")
    assert put_table(text) == text, (
        "run: python -m tidewire.settings.document docs/configuration.md"
    )


def test_the_table_is_put_between_the_marks() -> None:
    text = put_table(f"before\n{TABLE_START}\nold\n{TABLE_END}\nafter\n")
    assert text.startswith(f"before\n{TABLE_START}\n\n### Where it listens\n")
    assert text.endswith(f"{TABLE_END}\nafter\n")
    assert f"| `port` | port to listen on; 0 picks a free one | {PORT} | `8480` |" in text
    assert "\nold\n" not in text
    assert put_table(text) == text
    with pytest.raises(ValueError, match="substring not found"):
        put_table("no marks")
