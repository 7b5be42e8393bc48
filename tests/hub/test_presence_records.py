"""Records of members: whose they are, and how one is taken over, ended and reaped."""

from __future__ import annotations

from tidewire.hub.presence_records import (
    MemberRecord,
    client_of,
    client_of_session,
    count_key,
    counted,
    decode,
    joined,
    kept_secret,
    left,
    member_key,
    reaped,
    shown,
    split_key,
)

A = MemberRecord("nodeA", 1, 1_000, "websocket", "42", "tv")
B = MemberRecord("nodeB", 7, 2_000, "sse", "42", "tv")


def kept(record: MemberRecord) -> bytes:
    value = joined(record, None)
    assert value is not None
    return value


def test_the_first_one_is_new() -> None:
    record = decode(kept(A))
    assert record == A
    assert (record.new, record.moved) == (True, False)


def test_who_is_taken_over_was_there_before() -> None:
    record = decode(joined(B, kept(A)) or b"")
    assert (record.node, record.stint, record.since) == ("nodeB", 7, 1_000)
    assert (record.new, record.moved) == (False, True)


def test_who_is_written_again_by_its_node_has_not_moved() -> None:
    again = MemberRecord("nodeA", 2, 9_000, "websocket")
    record = decode(joined(again, kept(A)) or b"")
    assert (record.stint, record.since, record.new, record.moved) == (2, 1_000, False, False)
    back = decode(joined(again, joined(B, kept(A))) or b"")
    assert back.moved


def test_a_change_that_runs_twice_changes_nothing() -> None:
    value = kept(A)
    assert joined(A, value) is value


def test_only_the_holder_ends_a_record() -> None:
    value = kept(A)
    assert left("nodeA", 1, value) is None
    assert left("nodeA", 1, None) is None
    for node, stint in (("nodeA", 2), ("nodeB", 1)):
        assert left(node, stint, value) is value


def test_a_record_is_reaped_after_its_own_node_only() -> None:
    value = kept(A)
    assert reaped("nodeA", value) is None
    assert reaped("nodeB", value) is value


def test_no_members_is_no_count() -> None:
    assert counted(3, None) == b"3"
    assert counted(0, b"3") is None


def test_the_first_secret_is_that_of_all() -> None:
    assert kept_secret(b"mine", None) == b"mine"
    assert kept_secret(b"mine", b"theirs") == b"theirs"


def test_keys_of_one_channel_begin_with_no_other() -> None:
    assert split_key(member_key("a:b", "c")) == ("a:b", "c")
    assert split_key(count_key("a:b", "n")) == ("a:b", "n")
    assert not member_key("a:b", "c").startswith(member_key("a:", ""))
    assert not member_key("a", "b").startswith(member_key("a:", ""))


def test_a_client_can_be_found_by_itself_alone() -> None:
    assert client_of_session("abc") == client_of_session("abc")
    assert len(client_of_session("abc")) == 16
    # The recipe of the protocol page
    assert client_of_session("Jx2mD0bVtHk5Qw8R") == "BaoCQzv1l4dD0iwL"


def test_marks_tell_clients_apart() -> None:
    secret = b"s" * 32
    clients = {
        client_of(secret, "user", "42", ""),
        client_of(secret, "user", "42", "tv"),
        client_of(secret, "user", "4", "2tv"),
        client_of(secret, "program", "", "10.0.0.1", "curl"),
        client_of(b"t" * 32, "user", "42", ""),
        client_of(secret, "user", "\udcff"),
    }
    assert len(clients) == 6


def test_what_is_shown() -> None:
    member = shown("c", A)
    assert (member.client, member.user, member.device, member.since) == ("c", "42", "tv", 1_000)
    assert member.node is None
    assert shown("c", A, node=True).node == "nodeA"
