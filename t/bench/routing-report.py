#!/usr/bin/env python3
"""The table of routing.sh.

usage: routing-report.py RESULTS [INSTRUCTIONS]

A line of RESULTS is a round: "VARIANT NANOSECONDS REQUESTS" for each variant,
stock nginx among them; ratios are taken within the round.
INSTRUCTIONS, if it exists, has "VARIANT INSTRUCTIONS" lines.
"""

import collections
import os
import statistics
import sys

TARGETS = {
    "directory": 1.08,
    "cookie": 1.08,
    "everything": 1.15,
    "tls-directory": 1.08,
    "tls-cookie": 1.08,
    "tls-everything": 1.15,
}
LOG_TARGET = 0.4

NAMES = {
    "stock": "stock nginx, round robin",
    "buffered": "stock nginx, proxy_buffering on",
    "hash": "stock nginx, hash by mailbox",
    "directory": "mapi, directory",
    "unseen": "... mailboxes not asked for before",
    "cookie": "mapi, affinity cookie in and out",
    "headers": "mapi, directory, with headers",
    "zone": "... and mapi_zone: sessions, counters",
    "everything": "... and mapi_log, too",
    "access": "mapi, and access_log, 20 variables",
    "log": "mapi, and mapi_log",
    "haproxy": "HAProxy, cookie persistence",
}


def base_of(variant):
    return "tls-stock" if variant.startswith("tls-") else "stock"


def read_results(path):
    cpu = collections.defaultdict(list)
    ratios = collections.defaultdict(list)
    total = 0

    with open(path) as f:
        for line in f:
            words = line.split()
            one = {}

            for i in range(0, len(words), 3):
                requests = int(words[i + 2])
                one[words[i]] = int(words[i + 1]) / requests / 1000
                total += requests

            for variant, us in one.items():
                cpu[variant].append(us)
                ratios[variant].append(us / one[base_of(variant)])

    return cpu, ratios, total


def read_instructions(path):
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        return {a: int(b) for a, b in (line.split() for line in f)}


def spread(values, number, both):
    return number % statistics.median(values) + both % (min(values),
                                                       max(values))


def main():
    cpu, ratios, total = read_results(sys.argv[1])
    instructions = read_instructions(sys.argv[2]) if sys.argv[2:] else {}

    print()
    print("%-33s %-20s  %-21s  %s" % ("", "us CPU per request",
                                      "x stock in that round", "instructions"))
    print("%-33s %-20s  %-21s  %s" % ("worker of", "median  min..max",
                                      "median  min..max",
                                      "per request  x"))

    for variant in [*NAMES, *("tls-" + name for name in NAMES)]:
        if variant not in cpu:
            continue

        name = NAMES[variant.removeprefix("tls-")]

        if variant == "tls-stock":
            print("with TLS on both sides:")

        line = "%-33s %-20s" % (name, spread(cpu[variant], "%6.2f",
                                             "  %.2f..%.2f"))
        line += "  %-21s" % (spread(ratios[variant], "%6.3f", "  %.3f..%.3f")
                             if variant != base_of(variant) else " 1")

        if variant in instructions:
            line += "  %11d  %.2f" % (instructions[variant],
                                      instructions[variant]
                                      / instructions["stock"])
        print(line.rstrip())

    print("%d requests. Instructions are those outside the kernel." % total)

    wanted = [variant for variant in TARGETS if variant in ratios]

    if wanted:
        print("x stock nginx:  %-24s with a hash by mailbox" % "round robin")

    for variant in wanted:
        report_target(variant, TARGETS[variant], ratios)

    if "log" in cpu and "access" in cpu and "headers" in cpu:
        report_log(cpu)


# A server for each mailbox, and not the next one in turn, is what stock nginx
# has a hash for: against both, in the same rounds.

def report_target(variant, target, ratios):
    line = "%-15s" % variant
    both = [ratios[variant]]
    base = base_of(variant).replace("stock", "hash")

    if base in ratios:
        both.append([a / b for a, b in zip(ratios[variant], ratios[base])])

    for values in both:
        ratio = statistics.median(values)
        line += " %.3f (at most %.2f: %s)" % (
            ratio, target, "PASS" if ratio <= target else "over")

    print(line)


# what a row costs, against a line of access_log in the same round

def report_log(cpu):
    row = [a - b for a, b in zip(cpu["log"], cpu["headers"])]
    line = [a - b for a, b in zip(cpu["access"], cpu["headers"])]
    ratio = statistics.median(row) / statistics.median(line)

    print("a row of mapi_log      %s us" % spread(row, "%6.2f",
                                                  "  %.2f..%.2f"))
    print("a line of access_log   %s us" % spread(line, "%6.2f",
                                                  "  %.2f..%.2f"))
    print("row / line  %.2f, at most %.2f wanted: %s"
          % (ratio, LOG_TARGET, "PASS" if ratio <= LOG_TARGET else "over"))


if __name__ == "__main__":
    main()
