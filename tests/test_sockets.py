"""No test reaches another machine."""

import asyncio
import socket

import pytest


def test_a_socket_to_another_machine_is_refused() -> None:
    with socket.socket() as outward, pytest.raises(PermissionError, match="this machine only"):
        outward.connect(("192.0.2.1", 80))


async def test_asyncio_is_refused_too() -> None:
    with pytest.raises(PermissionError, match="this machine only"):
        await asyncio.open_connection("192.0.2.1", 80)
