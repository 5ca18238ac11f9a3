#!/usr/bin/env python3
"""The tables of failover.sh.

usage: failover-report.py FOLDER VICTIM [FILE]

FOLDER has "requests" of failover-load.py, "events" ("NAME SECONDS" lines:
refuse or silence, gone, back, end) and what the proxies logged of which server
they tried; VICTIM is ADDRESS:PORT of the one that goes.  FILE gets "NAME
SECOND ANSWERED FAILED" for each 100 ms.
"""

import collections
import os
import sys

NAMES = {
    "mapi": "mapi, health checks",
    "stock": "stock nginx, hash",
    "haproxy": "HAProxy, hash, checks",
}

LATE = 1        # seconds: an answer takes a twentieth of one
GAVE_UP = -1    # the client did, see failover-load.py

Request = collections.namedtuple("Request", "client began ended status server")


def read_requests(folder):
    requests = collections.defaultdict(list)

    with open(os.path.join(folder, "requests")) as f:
        for line in f:
            name, client, began, ended, status, server = line.split()
            requests[name].append(Request(int(client), float(began),
                                          float(ended), int(status), server))

    return requests


def read_rounds(folder):
    with open(os.path.join(folder, "events")) as f:
        events = [line.split() for line in f]

    for i in range(0, len(events), 4):
        yield events[i][0], [float(time) for _, time in events[i:i + 4]]


def read_tries(folder, name, victim):
    """When requests were tried on the victim.  HAProxy logs only where one
    ended, and that it was sent elsewhere: nobody but the victim refuses."""

    tries = []

    if name == "haproxy":
        with open(os.path.join(folder, name, "stderr")) as f:
            for line in f:
                words = line.split()
                if len(words) == 4 and words[0].isdigit() \
                   and (words[2] == victim or words[3].startswith("+")):
                    tries.append((int(words[0]) - int(words[1])) / 1000)
    else:
        with open(os.path.join(folder, name, "access.log")) as f:
            for line in f:
                ended, took, servers = line.rstrip().split(" ", 2)
                if victim in servers.split(", "):
                    tries.append(float(ended) - float(took))

    return tries


def per_second(requests, begin, end):
    count = sum(r.status == 200 and begin <= r.ended < end for r in requests)

    return count / (end - begin)


def look_at(requests, tries, times, address):
    killed, gone, back, end = times
    row = {}
    homes = {r.client for r in requests
             if killed - 2 < r.began and r.ended < killed
             and r.server == address}
    here = [r for r in requests if r.ended >= killed and r.began < end]
    failed = [r for r in here if r.status not in (200, GAVE_UP)]
    in_flight = [r for r in failed if r.began <= gone]
    # what hangs is ended all at once; the youngest has hardly begun
    ends = [r.ended for r in failed if r.ended - r.began > 0.2]
    hung = [r for r in failed if ends and r.began <= min(ends)]

    late = [r for r in here if r.status == 200 and r.ended - r.began > LATE]

    # requests of its mailboxes, answered elsewhere after its return
    strayed = [r.began for r in here if r.client in homes and r.began > back
               and r.server != address]
    tried = [t for t in tries if killed <= t < back]
    came = [r.ended for r in failed + late]

    row["before"] = per_second(requests, killed - 2, killed)
    row["during"] = per_second(requests, gone, back)
    row["after"] = per_second(requests, end - 1, end)
    row["in_flight"] = len(in_flight)
    row["others"] = len(failed) - len(in_flight)
    row["hung"] = len(hung)
    row["hung_others"] = len(failed) - len(hung)
    row["late"] = len(late)
    row["came"] = max(came) - killed if came else 0
    row["tried"] = max(tried) - killed if tried else 0
    row["home"] = max(strayed) - back if strayed else 0

    return row


def show(title, names, columns, rows):
    print()
    print(("%-24s" % title
           + "".join(" %-*s" % (w, t) for t, _, w in columns)).rstrip())

    for name in names:
        line = "%-24s" % NAMES[name]

        for _, key, width in columns:
            values = [row[key] for row in rows[name]]

            if key in ("before", "during", "after"):
                text = "%d" % (sum(values) / len(values))
            elif key in ("came", "tried", "home"):
                text = "%.1f..%.1f s" % (min(values), max(values))
            else:
                text = "%d" % sum(values)
            line += " %-*s" % (width, text)

        print(line.rstrip())


def write_series(path, requests):
    with open(path, "w") as f:
        for name, all_of in requests.items():
            slots = collections.defaultdict(lambda: [0, 0])
            first = min(r.began for r in all_of)

            for r in all_of:
                slots[int((r.ended - first) * 10)][r.status != 200] += \
                    r.status != GAVE_UP

            for slot in range(max(slots) + 1):
                f.write("%s %.1f %d %d\n" % (name, slot / 10, *slots[slot]))


def main():
    folder, victim = sys.argv[1:3]
    address = victim.split(":")[0]
    requests = read_requests(folder)
    names = [name for name in NAMES if name in requests]
    tables = {"refuse": collections.defaultdict(list),
              "silence": collections.defaultdict(list)}
    rounds = list(read_rounds(folder))

    for name in names:
        tries = read_tries(folder, name, victim)
        for kind, times in rounds:
            tables[kind][name].append(look_at(requests[name], tries, times,
                                              address))

    rates = [("before", "before", 7), ("gone", "during", 7),
             ("after", "after", 7)]

    show("killed, refuses", names, rates + [
        ("in flight failed", "in_flight", 17), ("others failed", "others", 14),
        ("last tried on it", "tried", 17), ("home again", "home", 12)],
        tables["refuse"])
    show("silent", names, rates + [
        ("hung, failed", "hung", 13), ("others failed", "hung_others", 14),
        ("hung till it spoke", "late", 19), ("last came back", "came", 15),
        ("last tried on it", "tried", 17), ("home again", "home", 12)],
        tables["silence"])

    print()
    print("Requests per second; failures of %d times each; times since it was"
          " gone, or came back." % (len(rounds) // 2))

    if len(sys.argv) > 3:
        write_series(sys.argv[3], requests)


if __name__ == "__main__":
    main()
