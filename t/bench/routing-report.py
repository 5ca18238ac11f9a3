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

TARGET = 1.08
EVERYTHING_TARGET = 1.15
LOG_TARGET = 0.4

NAMES = {
    "stock": "stock nginx, round robin",
    "buffered": "stock nginx, proxy_buffering on",
    "hash": "stock nginx, hash by mailbox",
    "directory": "mapi, directory of all mailboxes",
    "cookie": "mapi, affinity cookie in and out",
    "zone": "... and mapi_zone: sessions, counters",
    "everything": "... and mapi_log, too",
    "access": "mapi, and access_log, 20 variables",
    "log": "mapi, and mapi_log",
    "haproxy": "HAProxy, cookie persistence",
}


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
                ratios[variant].append(us / one["stock"])

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

    for variant, name in NAMES.items():
        if variant not in cpu:
            continue

        line = "%-33s %-20s" % (name, spread(cpu[variant], "%6.2f",
                                             "  %.2f..%.2f"))
        line += "  %-21s" % (spread(ratios[variant], "%6.3f", "  %.3f..%.3f")
                             if variant != "stock" else " 1")

        if variant in instructions:
            line += "  %11d  %.2f" % (instructions[variant],
                                      instructions[variant]
                                      / instructions["stock"])
        print(line.rstrip())

    print("%d requests. Instructions are those outside the kernel." % total)

    for variant in ("directory", "cookie"):
        if variant in ratios:
            ratio = statistics.median(ratios[variant])
            print("%-9s  %.3f x stock nginx, at most %.2f wanted: %s"
                  % (variant, ratio, TARGET,
                     "PASS" if ratio <= TARGET else "over"))

            if "hash" in ratios:
                ratio = statistics.median(
                    [a / b for a, b in zip(ratios[variant], ratios["hash"])])
                print("%-9s  %.3f x stock nginx with a hash by mailbox"
                      % (variant, ratio))

    if "everything" in ratios:
        ratio = statistics.median(ratios["everything"])
        print("everything %.3f x stock nginx, at most %.2f wanted: %s"
              % (ratio, EVERYTHING_TARGET,
                 "PASS" if ratio <= EVERYTHING_TARGET else "over"))

    if "log" in cpu and "access" in cpu:
        report_log(cpu)


# what a row costs, against a line of access_log in the same round

def report_log(cpu):
    row = [a - b for a, b in zip(cpu["log"], cpu["directory"])]
    line = [a - b for a, b in zip(cpu["access"], cpu["directory"])]
    ratio = statistics.median(row) / statistics.median(line)

    print("a row of mapi_log      %s us" % spread(row, "%6.2f",
                                                  "  %.2f..%.2f"))
    print("a line of access_log   %s us" % spread(line, "%6.2f",
                                                  "  %.2f..%.2f"))
    print("row / line  %.2f, at most %.2f wanted: %s"
          % (ratio, LOG_TARGET, "PASS" if ratio <= LOG_TARGET else "over"))


if __name__ == "__main__":
    main()
