#!/usr/bin/env python3
"""A mailbox server of failover.sh, a process of its own that can be killed.

usage: failover-server.py ADDRESS PORT MILLISECONDS

Answers a POST after so long, so that there are always requests in flight, and
a GET, which is a check, at once.  X-Server is its address.
"""

import asyncio
import sys

ADDRESS, PORT, DELAY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 1000
BODY = "200 OK<br/>"
ANSWER = ("HTTP/1.1 200 OK\r\nX-Server: %s\r\nContent-Length: %d\r\n\r\n%s"
          % (ADDRESS, len(BODY), BODY)).encode()


class Server(asyncio.Protocol):
    def __init__(self):
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

        # no request has a body

        while b"\r\n\r\n" in self.data:
            request, self.data = self.data.split(b"\r\n\r\n", 1)

            if request.startswith(b"GET "):
                self.transport.write(ANSWER)
            else:
                asyncio.get_running_loop().call_later(DELAY, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(
        Server, ADDRESS, PORT, backlog=4096, reuse_address=True)
    await server.serve_forever()


asyncio.run(main())
