#!/usr/bin/env python3
"""Clients of failover.sh, until it is ended by SIGTERM.

usage: failover-load.py FILE CLIENTS NAME:PORT...

To each proxy go so many clients, each with a mailbox and a connection of its
own, who ask again when they are answered.  Three more have no patience: they
hang up, so that there is always somebody new.  A line of FILE is a request:
"NAME CLIENT BEGAN ENDED STATUS SERVER", times in seconds, status 0 for a
connection that was closed, -1 for a client that hung up.
"""

import asyncio
import signal
import sys
import time

PAUSE = 0.05    # after a failure, so that those do not count more than answers
IMPATIENT = 3
PATIENCE = 0.3  # seconds


def request(client):
    return ("POST /mapi/emsmdb/?MailboxId=%08x-0000-4000-8000-%012x@example.com"
            " HTTP/1.1\r\nHost: mail.example.com\r\nX-RequestType: Execute\r\n"
            "Content-Length: 0\r\n\r\n" % (client, client)).encode()


async def ask(reader, writer, text):
    status, length, server = 0, 0, "-"

    writer.write(text)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    status = int(lines[0].split()[1])

    for line in lines[1:]:
        name, _, value = line.partition(": ")
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "x-server":
            server = value

    await reader.readexactly(length)

    return status, server


async def run(out, name, port, client, patience):
    text = request(client)
    writer = None

    while True:
        began = time.time()

        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1",
                                                               port)
            status, server = await asyncio.wait_for(
                ask(reader, writer, text), patience)
        except asyncio.TimeoutError:
            status, server = -1, "-"
        except (OSError, asyncio.IncompleteReadError):
            status, server = 0, "-"

        out.write("%s %d %.4f %.4f %d %s\n" % (name, client, began,
                                               time.time(), status, server))

        if status != 200:
            if writer is not None:
                writer.close()
                writer = None
            await asyncio.sleep(PAUSE)


async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    with open(sys.argv[1], "w") as out:
        tasks = []
        for target in sys.argv[3:]:
            name, port = target.split(":")
            clients = int(sys.argv[2])
            tasks += [asyncio.create_task(
                          run(out, name, int(port), n + 1,
                              None if n < clients else PATIENCE))
                      for n in range(clients + IMPATIENT)]
        await ended.wait()

        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


asyncio.run(main())
