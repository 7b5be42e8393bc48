"""The server's settings: what there is, where it comes from, and how it is written down.

One name serves everywhere: the field ``poll_interval`` is the flag ``--poll-interval``, the
environment variable ``TIDEWIRE_POLL_INTERVAL`` and the key ``poll_interval`` of ``tidewire.toml``.
"""

from tidewire.settings.fields import Settings
from tidewire.settings.namespace import NamespaceSettings
from tidewire.settings.sources import Loaded, Origin, SettingsError, load

__all__ = ["Loaded", "NamespaceSettings", "Origin", "Settings", "SettingsError", "load"]
