#!/usr/bin/env python3
"""The table of routing.sh.

usage: routing-report.py RESULTS [INSTRUCTIONS]

A line of RESULTS is "VARIANT NANOSECONDS REQUESTS", followed by the same two
numbers of stock nginx for the turns before and after: the ratio is taken to
the mean of these.
INSTRUCTIONS, if it exists, has "VARIANT INSTRUCTIONS" lines.
"""

import collections
import os
import statistics
import sys

TARGET = 1.08

NAMES = {
    "stock": "stock nginx, round robin",
    "buffered": "stock nginx, proxy_buffering on",
    "directory": "mapi, directory of all mailboxes",
    "cookie": "mapi, affinity cookie in and out",
    "haproxy": "HAProxy, cookie persistence",
}


def read_results(path):
    cpu = collections.defaultdict(list)
    ratios = collections.defaultdict(list)
    total = 0

    with open(path) as f:
        for line in f:
            variant, *numbers = line.split()
            numbers = [int(n) for n in numbers]
            one, before, after = [numbers[i] / numbers[i + 1] / 1000
                                  for i in (0, 2, 4)]

            cpu[variant].append(one)
            cpu["stock"].append(after)
            ratios[variant].append(2 * one / (before + after))
            total += numbers[1] + numbers[5]

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
    print("%-33s %-20s  %-20s  %s" % ("", "us CPU per request",
                                      "x stock next to it", "instructions"))
    print("%-33s %-20s  %-20s  %s" % ("worker of", "median  min..max",
                                      "median  min..max",
                                      "per request  x"))

    for variant, name in NAMES.items():
        if variant not in cpu:
            continue

        line = "%-33s %-20s" % (name, spread(cpu[variant], "%6.2f",
                                             "  %.2f..%.2f"))
        line += "  %-20s" % (spread(ratios[variant], "%6.3f", "  %.3f..%.3f")
                             if variant in ratios else " 1")

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


if __name__ == "__main__":
    main()
