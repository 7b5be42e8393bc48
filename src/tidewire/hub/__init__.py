"""Who is subscribed, where each one is in the log, and who gets what next."""

from tidewire.hub.asking import Answers
from tidewire.hub.audience import Audience, Form
from tidewire.hub.consumer import Consumer
from tidewire.hub.consumer_records import Standing
from tidewire.hub.consumers import Consumers
from tidewire.hub.fleet import Fleet
from tidewire.hub.hub import Hub
from tidewire.hub.node import NodeInfo
from tidewire.hub.opening import FIRST_MESSAGES, PAGE_MESSAGES, Opening, Start
from tidewire.hub.presence import Presence
from tidewire.hub.session import Session, Sink, State
from tidewire.hub.session_records import Holding, SessionRecord, SessionRecords, Terms

__all__ = [
    "FIRST_MESSAGES",
    "PAGE_MESSAGES",
    "Answers",
    "Audience",
    "Consumer",
    "Consumers",
    "Fleet",
    "Form",
    "Holding",
    "Hub",
    "NodeInfo",
    "Opening",
    "Presence",
    "Session",
    "SessionRecord",
    "SessionRecords",
    "Sink",
    "Standing",
    "Start",
    "State",
    "Terms",
]
