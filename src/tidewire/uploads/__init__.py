"""Files that clients send in chunks: what is expected next, and where the bytes are kept.

``upload_callback`` names a function that takes an :class:`Upload`; see :class:`Refused`.
"""

from tidewire.uploads.callback import Callback, CallbackError, Refused, load_callback
from tidewire.uploads.intake import Intake
from tidewire.uploads.receiving import Chunk, Receiving, parse_chunk
from tidewire.uploads.store import Partial, Store
from tidewire.uploads.upload import Published, Upload, Wanted, check_wanted

__all__ = [
    "Callback",
    "CallbackError",
    "Chunk",
    "Intake",
    "Partial",
    "Published",
    "Receiving",
    "Refused",
    "Store",
    "Upload",
    "Wanted",
    "check_wanted",
    "load_callback",
    "parse_chunk",
]
