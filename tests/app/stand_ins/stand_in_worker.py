"""Stands in for the gateway's worker: answers any GET with its name, process and settings; ``/slow`` takes a while."""

import asyncio
import os
import signal

from auterity.app import child


async def main() -> None:
    launch = child.begin()
    listener = child.listening_socket(launch)
    calls: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        calls.add(call)
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path == b"/die":
            os._exit(9)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        if path.startswith(b"/slow"):
            writer.write(b"begun\n")
            await writer.drain()
            await asyncio.sleep(float(path.partition(b"=")[2]))
        said = f"{launch.name} {launch.slot} {os.getpid()} {launch.settings.body_limit_bytes} {launch.database_url}\n"
        writer.write(said.encode())
        await writer.drain()
        writer.close()
        calls.discard(call)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(answer, sock=listener)
    child.ready(launch)
    await stop.wait()
    server.close()
    if calls:
        await asyncio.wait(calls, timeout=launch.settings.shutdown_grace_s)


asyncio.run(main())
