#!/usr/bin/env python3
"""CSV files of a made-up organisation, the same for the same arguments.

    gen-csv.py --mailboxes N --databases M --servers K --out DIR
               [--addresses 127.0.0.11,127.0.0.12,...] [--archives N]

Writes DIR/mailboxes.csv, DIR/databases.csv and DIR/servers.csv.  Whoever
tests computes the names as this file does:

    server i, 1..K      Name EXi, Fqdn exi.corp.example, version 15.2.1544.4,
                        the i-th of --addresses if there are that many
    database j, 1..M    Name DBjj (at least two digits), GUID
                        dbdbdbdb-0000-4000-8000-<j as 12 hex digits>,
                        mounted on server s = (j - 1) mod K + 1; copies on
                        s, s + 1 and s + 2 (round the servers, each once) in
                        this order
    mailbox n, 1..N     GUID: first 16 bytes of SHA-256("mailbox-n"), printed
                        in order; database d = (n - 1) mod M + 1;
                        primary address   user%06d@corp.example
                        second address    alias%06d@mail.corp.example
                        UPN               u%06d@ad.corp.example
                        account           CORP\\acct%06d
    archives            the first --archives mailboxes (default: none) have
                        the ArchiveGuid made of SHA-256("archive-n") in
                        database d mod M + 1
"""

import argparse
import hashlib
import os


def guid(text):
    h = hashlib.sha256(text.encode()).hexdigest()[:32]
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))


def database_guid(j):
    return "dbdbdbdb-0000-4000-8000-%012x" % j


def quoted(*cells):
    return ",".join('"%s"' % c for c in cells) + "\r\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--mailboxes", type=int, default=1000)
    p.add_argument("--databases", type=int, default=6)
    p.add_argument("--servers", type=int, default=3)
    p.add_argument("--archives", type=int, default=0)
    p.add_argument("--addresses", default="")
    p.add_argument("--out", required=True)
    a = p.parse_args()

    os.makedirs(a.out, exist_ok=True)
    addresses = [x for x in a.addresses.split(",") if x]

    def out(name):
        return open(os.path.join(a.out, name), "w", encoding="utf-8",
                    newline="")

    with out("servers.csv") as f:
        f.write(quoted("Name", "Fqdn", "Addresses", "AdminDisplayVersion",
                       "State"))
        for i in range(1, a.servers + 1):
            f.write(quoted("EX%d" % i, "ex%d.corp.example" % i,
                           addresses[i - 1] if i <= len(addresses) else "",
                           "Version 15.2 (Build 1544.4)", "active"))

    with out("databases.csv") as f:
        f.write(quoted("Name", "Guid", "Server", "ActivationPreference"))
        for j in range(1, a.databases + 1):
            s = (j - 1) % a.servers
            copies = ["EX%d" % ((s + k) % a.servers + 1)
                      for k in range(min(3, a.servers))]
            f.write(quoted("DB%02d" % j, database_guid(j), copies[0],
                           " ".join("[%s, %d]" % (c, k + 1)
                                    for k, c in enumerate(copies))))

    with out("mailboxes.csv") as f:
        f.write(quoted("ExchangeGuid", "PrimarySmtpAddress", "Database",
                       "EmailAddresses", "UserPrincipalName",
                       "SamAccountName", "ArchiveGuid", "ArchiveDatabase",
                       "MapiHttpEnabled"))
        for n in range(1, a.mailboxes + 1):
            d = (n - 1) % a.databases + 1
            primary = "user%06d@corp.example" % n
            archive = n <= a.archives
            f.write(quoted(
                guid("mailbox-%d" % n), primary, "DB%02d" % d,
                "SMTP:%s;smtp:alias%06d@mail.corp.example" % (primary, n),
                "u%06d@ad.corp.example" % n, "CORP\\acct%06d" % n,
                guid("archive-%d" % n) if archive
                else "00000000-0000-0000-0000-000000000000",
                "DB%02d" % (d % a.databases + 1) if archive else "",
                ""))


if __name__ == "__main__":
    main()
