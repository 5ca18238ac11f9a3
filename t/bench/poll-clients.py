#!/usr/bin/env python3
"""Clients of poll.sh: each opens a session and then waits for events.

usage: poll-clients.py PORT PID KEYS FIRST CONTROL [CERTIFICATE]

A client for each mailbox of KEYS, one after the other, to the proxy on PORT,
whose one process PID is, with TLS if there is a certificate.  It sends Connect,
then NotificationWait with the cookies of the answer, reads that answer's head
and its first chunk, and hangs.  At the end all of them must still hang, by the
word of the servers, who are asked on CONTROL, too.

Writes "BYTES ZONE FILES": what the clients behind the FIRST ones added to the
process, in memory of its own, in shared memory, and in open files.
"""

import importlib
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.request

client = importlib.import_module("routing-client")


def read_template():
    with open(os.environ["BENCH_TEMPLATE"], newline="") as f:
        template = f.read().replace("\n", "\r\n") + "\r\n"

    more = int(os.environ.get("BENCH_HEADER", 0))
    if more:
        template = template.replace("\r\nHost:", "\r\nX-Token: %s\r\nHost:"
                                    % ("x" * more))

    return re.sub(r" Mapi(Context|Sequence)=[^;]*;", "", template)


def request(template, kind, mailbox, cookies=""):
    return client.head_of(template.replace("Execute", kind), mailbox, cookies)


def connect(port, context):
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return context.wrap_socket(sock, server_hostname="mail.example.com") \
        if context else sock


# what every worker has seen before long: all mailboxes, rows of the log

def ask_all(port, context, template, mailboxes):
    sock = connect(port, context)
    stream = sock.makefile("rb")

    for mailbox in mailboxes:
        sock.sendall(request(template, "PING", mailbox))
        client.read_answer(stream)

    sock.close()


def wait_for_events(port, context, template, mailbox):
    sock = connect(port, context)
    stream = sock.makefile("rb")

    sock.sendall(request(template, "Connect", mailbox))
    headers = client.read_answer(stream)
    cookies = "; ".join(c.split(";")[0] for c in headers["set-cookie"])

    if headers["x-responsecode"] != ["0"] or "MapiContext=" not in cookies:
        sys.exit("no session: %s" % dict(headers))

    sock.sendall(request(template, "NotificationWait", mailbox, cookies))
    headers = client.read_head(stream)

    if headers["transfer-encoding"] != ["chunked"] \
            or stream.readline() + stream.readline() != b"c\r\nPROCESSING\r\n":
        sys.exit("not hanging: %s" % dict(headers))

    return sock


# In a mapping of the process's own, pages are counted that no other has.  One
# that is shared counts with all that it has in memory: "private" would be what
# no other process has touched so far.  Files, as the directory, do not count.

def memory(pid):
    own = zone = 0

    # a PENDING now and then is no matter
    time.sleep(0.5)

    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            words = line.split()

            if re.match(r"[0-9a-f]+-[0-9a-f]+$", words[0]):
                shared = words[1].endswith("s")
                in_zone = shared and "/dev/zero" in line
            elif words[0] in ("Private_Clean:", "Private_Dirty:"):
                own += 0 if shared else int(words[1])
            elif words[0] == "Rss:":
                zone += int(words[1]) if in_zone else 0

    return own * 1024, zone * 1024, len(os.listdir("/proc/%d/fd" % pid))


def count_waiting(control):
    with urllib.request.urlopen("http://127.0.0.1:%d/" % control) as answer:
        return sum(s["waiting"] for s in json.load(answer)["servers"])


# what comes is PENDING, but not the end of an answer or of a connection

def check_hanging(sock):
    sock.setblocking(False)

    while True:
        try:
            data = sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            return

        if re.sub(rb"9\r\nPENDING\r\n\r\n", b"", data) or not data:
            sys.exit("a client was answered: %r" % data)


def main():
    port, pid = int(sys.argv[1]), int(sys.argv[2])
    first, control = int(sys.argv[4]), int(sys.argv[5])
    context = ssl.create_default_context(cafile=sys.argv[6]) \
        if sys.argv[6:] else None

    with open(sys.argv[3]) as f:
        mailboxes = f.read().split()

    template = read_template()
    ask_all(port, context, template, mailboxes)

    clients = []

    for mailbox in mailboxes:
        if len(clients) == first:
            before = memory(pid)
        clients.append(wait_for_events(port, context, template, mailbox))

    after = memory(pid)

    for sock in clients:
        check_hanging(sock)

    waiting = count_waiting(control)

    if waiting != len(clients):
        sys.exit("%d of %d clients hang at a server" % (waiting, len(clients)))

    print(*(b - a for a, b in zip(before, after)))


if __name__ == "__main__":
    main()
