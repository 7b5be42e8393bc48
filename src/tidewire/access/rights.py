"""Who may do what in which channel.

A caller may do a thing in a channel if one of these says so:

1. the server asks nobody (no credentials are configured), or the caller is a key with that scope;
2. a grant of its token names the channel, or has a pattern for it;
3. the channel is its own: ``user:#42`` belongs to user 42, who may do everything there but publish;
4. it is to read the channel for everybody, ``@all``;
5. the namespace lets every user do it, or anyone; never in a channel that belongs to somebody, and
   never to publish to everybody.

To read the channel in which the joins and leaves of another are told is the right ``presence`` in
that other; to publish there is nobody's.

``subscribe`` includes ``ack``. The client is told that it may not; which rule refused it is for the
operator's log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tidewire.access.caller import Caller, Right
from tidewire.access.patterns import matches
from tidewire.model import Forbidden, NoCredentials, check_channel
from tidewire.model.address import ALL, subject_of
from tidewire.model.channel import namespace_of
from tidewire.model.owner import owner_of

_MOST_DECISIONS = 1_024
_VERBS: dict[Right, str] = {
    "subscribe": "subscribe to",
    "publish": "publish to",
    "history": "read the history of",
    "presence": "see who is on",
    "ack": "acknowledge in",
}

_READING: frozenset[Right] = frozenset({"subscribe", "history", "ack"})


class Rules(NamedTuple):
    """Who may do each thing in a namespace: ``token``, ``user`` or ``anyone``."""

    subscribe: str = "token"
    publish: str = "token"
    history: str = "token"
    presence: str = "token"

    def of(self, right: Right) -> str:
        """Who has *right*; to acknowledge is a part of subscribing."""
        return str(getattr(self, "subscribe" if right == "ack" else right))


class Rights:
    """Decides by the *default* rules and those of namespaces."""

    def __init__(self, default: Rules, by_namespace: Mapping[str, Rules]) -> None:
        self._default = default
        self._by_namespace = dict(by_namespace)
        #: Whether a stranger may do anything anywhere.
        self.for_anyone = any("anyone" in rules for rules in (default, *by_namespace.values()))

    def check(self, caller: Caller, right: Right, channels: Iterable[str]) -> None:
        """Let *caller* do this in all *channels*.

        Raises:
            InvalidChannel: if one is no name of a channel.
            NoCredentials: if it may not, and has not said who it is.
            Forbidden: if it may not. Why, both say to the operator alone.
        """
        if caller.kind == "open":
            return
        for channel in channels:
            why = self.refusal(caller, right, channel)
            if why is not None:
                why = f"{right} {channel}: {why}"
                if caller.kind == "anonymous":
                    raise NoCredentials(
                        f"to {_VERBS[right]} {channel!r} show who you are: send a token or a key",
                        why=why,
                    )
                raise Forbidden(f"you may not {_VERBS[right]} {channel!r}", why=why)

    def refusal(self, caller: Caller, right: Right, channel: str) -> str | None:
        """Why *caller* may not do this, for the operator; ``None``: it may.

        Raises:
            InvalidChannel: if *channel* is no name of one.
        """
        if caller.kind == "open":
            return None
        decided = caller.decided
        key = (right, channel)
        if key not in decided:
            check_channel(channel)  # what is none may be long: it is not kept, and not logged
            if len(decided) >= _MOST_DECISIONS:
                decided.clear()
            decided[key] = self._decide(caller, right, channel)
        return decided[key]

    def _decide(self, caller: Caller, right: Right, channel: str) -> str | None:
        if (subject := subject_of(channel)) is not None:
            if right == "publish":
                return "only the server publishes there"
            return self._decide(caller, "presence", subject)
        owner = owner_of(channel)
        if owner is not None and owner == caller.owner and right != "publish":
            return None
        for pattern, rights in caller.grants:
            if right in _with_ack(rights) and matches(pattern, channel):
                return None
        if caller.kind == "key" and not caller.grants and right in _with_ack(caller.scopes):
            return None
        if caller.kind == "key":
            return f"the key {caller.name!r} has no scope for it"
        if channel == ALL:
            if right in _READING:
                return None
            if right == "publish":
                return "to publish to everybody takes a grant"
        if owner is not None:
            return f"the channel belongs to {owner!r}, and no grant names it"
        namespace = namespace_of(channel)
        who = self._by_namespace.get(namespace, self._default).of(right)
        if who == "anyone" or (who == "user" and caller.kind == "user"):
            return None
        rule = f"allow_{'subscribe' if right == 'ack' else right} = {who!r}"
        where = f" in the namespace {namespace!r}" if namespace in self._by_namespace else ""
        return f"it has no grant, and {rule}{where}"


def _with_ack(rights: frozenset[str]) -> frozenset[str]:
    return rights | {"ack"} if "subscribe" in rights else rights
