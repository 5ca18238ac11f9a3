#!/usr/bin/env python3
"""One client on one connection: requests as routing.lua sends them.

usage: routing-client.py PORT KEYS COUNT [--save FILE] [--cookie COOKIE]

Sends COUNT requests for the mailboxes of KEYS (from the file's start, again
from the start when it ends) and prints how many answers each server gave.
--save writes "MAILBOX COOKIE" lines, COOKIE being what a server's answer set
by the name of BENCH_COOKIE_NAME (default MapiAffinity).  Ends with exit code 1
at the first answer that is not 200.
"""

import argparse
import collections
import itertools
import os
import socket
import sys


def head_of(template, mailbox, cookie):
    head = template.replace("{{mailbox}}", mailbox)
    head = head.replace("{{cookie}}", "; " + cookie if cookie else "")
    return head.encode() + bytes(64)


def read_head(stream):
    status = stream.readline().decode()
    headers = collections.defaultdict(list)

    while True:
        line = stream.readline().decode().rstrip("\r\n")
        if line == "":
            break
        name, _, value = line.partition(":")
        headers[name.lower()].append(value.strip())

    if not status.startswith("HTTP/1.1 200"):
        sys.exit("unexpected answer: %s %s" % (status.strip(), dict(headers)))

    return headers


def read_answer(stream):
    headers = read_head(stream)

    if "content-length" in headers:
        stream.read(int(headers["content-length"][0]))
    else:
        while True:
            size = int(stream.readline(), 16)
            stream.read(size + 2)
            if size == 0:
                break

    return headers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("keys")
    parser.add_argument("count", type=int)
    parser.add_argument("--save")
    parser.add_argument("--cookie", default="")
    options = parser.parse_args()

    with open(os.environ["BENCH_TEMPLATE"], newline="") as f:
        template = f.read().replace("\n", "\r\n") + "\r\n"

    with open(options.keys) as f:
        keys = list(itertools.islice(f, options.count))

    name = os.environ.get("BENCH_COOKIE_NAME", "MapiAffinity") + "="
    servers = collections.Counter()
    saved = []

    connection = socket.create_connection(("127.0.0.1", options.port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = connection.makefile("rb")

    for line in itertools.islice(itertools.cycle(keys), options.count):
        mailbox, _, cookie = line.strip().partition(" ")
        connection.sendall(head_of(template, mailbox,
                                   cookie or options.cookie))
        headers = read_answer(stream)
        servers[headers["x-feserver"][0]] += 1

        for value in headers["set-cookie"]:
            if value.startswith(name):
                saved.append("%s %s\n" % (mailbox, value.split(";")[0]))

    if options.save:
        if len(saved) != options.count:
            sys.exit("%d of %d answers set the cookie"
                     % (len(saved), options.count))
        with open(options.save, "w") as f:
            f.writelines(saved)

    print(" ".join("%s=%d" % pair for pair in sorted(servers.items())))


if __name__ == "__main__":
    main()
