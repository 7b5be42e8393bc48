"""The four ways to a subscriber, and publishing: bytes in, bytes out, no sockets."""
