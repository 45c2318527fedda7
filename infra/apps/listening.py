"""Sockets that a process listens on, opened before anything that tells others where."""

import socket


class AddressUnavailable(Exception):
    """We cannot listen there; the text says where, why, and which setting to change."""


def listen(host: str, port: int | None, *, setting: str = "the port") -> socket.socket:
    """A listening socket, on a free port when none is named. `setting` names the port's. Raises AddressUnavailable."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port or 0))
    except OSError as cause:
        listening.close()
        where = host if port is None else f"{host}:{port}"
        raise AddressUnavailable(f"Nothing can listen on {where} ({cause.strerror}). Set {setting} to a free port, or unset it") from cause
    listening.listen(1024)
    listening.setblocking(False)
    return listening
