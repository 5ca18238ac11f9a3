#!/usr/bin/env python3
"""Lets processes run one after the other, in short turns, until all have ended.

usage: routing-turns.py SECONDS PID...

Each has its turn once a lap, and every second lap goes backwards: a drift of
the machine's speed falls out of their comparison.
"""

import os
import signal
import sys
import time


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def main():
    turn = float(sys.argv[1])
    pids = [int(a) for a in sys.argv[2:]]

    for pid in pids:
        send(pid, signal.SIGSTOP)

    while pids:
        for pid in pids:
            send(pid, signal.SIGCONT)
            time.sleep(turn)
            if running(pid):
                send(pid, signal.SIGSTOP)

        pids = [pid for pid in reversed(pids) if running(pid)]


if __name__ == "__main__":
    main()
