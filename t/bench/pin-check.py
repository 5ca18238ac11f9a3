#!/usr/bin/env python3
"""Clients log on through a proxy and must see themselves and only themselves.

usage: pin-check.py PORT FOLDER CLIENTS

Every client logs on by NTLM and asks ten times without Authorization, all of
them in one random order, step by step.  Now and then, between two steps, a
stranger asks on a connection without a logon, and must be refused.  FOLDER has
the requests that pin-requests.py wrote.  Ends with exit code 1 at the first
wrong answer.
"""

import random
import socket
import sys

REQUESTS = 10
STRANGERS = 3


class Client:
    def __init__(self, port, folder, name):
        self.name = name
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.folder = folder
        self.steps = ["type1", "type3"] + ["plain"] * REQUESTS

    def ask(self, what):
        """The answer's status, its X-User and its challenges."""

        with open("%s/%s" % (self.folder, what), "rb") as f:
            content = f.read()
        if what == "type3":
            content = content.replace(b"client000000", self.name.encode())
        self.socket.sendall(content)

        status = self.stream.readline().split()
        if not status:
            sys.exit("%s, %s: the connection was closed" % (self.name, what))

        user, challenges, length = None, [], 0

        while True:
            name, _, value = self.stream.readline().decode().partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == "":
                break
            if name == "x-user":
                user = value
            elif name == "www-authenticate":
                challenges.append(value)
            elif name == "content-length":
                length = int(value)

        self.stream.read(length)

        return int(status[1]), user, challenges

    def step(self):
        what = self.steps.pop(0)
        status, user, challenges = self.ask(what)

        if what == "type1":
            good = (status == 401 and len(challenges) == 1
                    and challenges[0].startswith("NTLM T"))
        else:
            good = status == 200 and user == self.name

        if not good:
            sys.exit("%s, %s: answer %d for %s, %s"
                     % (self.name, what, status, user, challenges))


def main():
    port, folder, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    generator = random.Random(20)

    clients = [Client(port, folder, "client%06d" % (i + 1))
               for i in range(count)]
    strangers = [Client(port, folder, "stranger%04d" % i)
                 for i in range(STRANGERS)]
    refused = 0
    left = list(clients)

    while left:
        client = generator.choice(left)
        client.step()
        if not client.steps:
            left.remove(client)

        if generator.random() < 0.3:
            status, user, _ = generator.choice(strangers).ask("plain")
            if status != 401:
                sys.exit("a stranger got answer %d, as %s" % (status, user))
            refused += 1

    print("%d clients see themselves, %d requests of %d, and %d of strangers"
          " are refused" % (count, count * REQUESTS, count * REQUESTS, refused))


if __name__ == "__main__":
    main()
