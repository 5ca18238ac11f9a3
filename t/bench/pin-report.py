#!/usr/bin/env python3
"""The tables of pin.sh.

usage: pin-report.py LOGONS REQUESTS MEMORY PAIRS

A line of LOGONS and of REQUESTS is a round: of each row "NAME CPU-NANOSECONDS
COUNT NANOSECONDS", stock nginx among them; ratios are taken within the round.
A line of MEMORY is "NAME BYTES SOCKETS", for PAIRS clients.
"""

import collections
import statistics
import sys

NAMES = {
    "stock": "stock nginx, pool",
    "pin": "mapi_pin, plain requests: pool",
    "pin-logon": "mapi_pin, pinned",
    "haproxy": "HAProxy, plain requests: pool",
    "haproxy-logon": "HAProxy, private connections",
}


def read_rounds(path):
    cpu = collections.defaultdict(list)
    rate = collections.defaultdict(list)

    with open(path) as f:
        for line in f:
            words = line.split()

            for i in range(0, len(words), 4):
                ns, count, wall = map(int, words[i + 1:i + 4])
                cpu[words[i]].append(ns / count / 1000)
                rate[words[i]].append(count * 1e9 / wall)

    return cpu, rate


def ratios(cpu, name, base):
    return [a / b for a, b in zip(cpu[name], cpu[base])]


def spread(values, number, both):
    return number % statistics.median(values) + both % (min(values),
                                                       max(values))


def show_rounds(title, per, cpu, rate, bases):
    print()
    print("%-31s %-8s %-23s %-22s %s" % (
        title, "", "us CPU per " + per, "x stock in that round", bases[1]))
    print("%-31s %-8s %-23s %-22s %s" % (
        "worker of", "per s", " median  min..max", "median  min..max",
        "median  min..max"))

    for name, text in NAMES.items():
        if name not in cpu:
            continue

        line = "%-31s %-8d %-23s " % (text, statistics.median(rate[name]),
                                      spread(cpu[name], "%7.2f",
                                             "  %.2f..%.2f"))
        line += "%-22s" % ("1" if name == "stock" else
                           spread(ratios(cpu, name, "stock"), "%6.3f",
                                  "  %.3f..%.3f"))
        own = bases[0](name)
        if own in cpu and own != name:
            line += " " + spread(ratios(cpu, name, own), "%6.3f",
                                 "  %.3f..%.3f")
        print(line.rstrip())


def show_memory(path, pairs):
    print()
    print("%-31s %-10s %-17s %s" % ("idle client and its server",
                                    "bytes", "more than stock",
                                    "open files"))

    with open(path) as f:
        rows = [line.split() for line in f]

    each = {row[0]: int(row[1]) / pairs for row in rows}

    for name, _, sockets in rows:
        print("%-31s %-10d %-17s %.2f" % (
            NAMES[name], each[name],
            "" if name == "stock" else "%+d" % (each[name] - each["stock"]),
            int(sockets) / pairs))


def main():
    logons, logon_rate = read_rounds(sys.argv[1])
    requests, request_rate = read_rounds(sys.argv[2])
    pairs = int(sys.argv[4])

    show_rounds("logons", "logon", logons, logon_rate,
                (lambda name: "haproxy-logon", "x HAProxy's"))
    show_rounds("requests", "request", requests, request_rate,
                (lambda name: name.replace("-logon", ""), "x its own pool"))
    show_memory(sys.argv[3], pairs)

    print()
    print("Client, server and proxy share one core. Memory is the worker's own,"
          " of %d pairs." % pairs)


if __name__ == "__main__":
    main()
