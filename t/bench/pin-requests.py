#!/usr/bin/env python3
"""What the clients of pin.sh send.

usage: pin-requests.py TEMPLATE FOLDER

TEMPLATE is a request's head as Outlook sends it, of the benchmark "routing".
FOLDER gets "plain", the request without Authorization, and "type1" and "type3",
the two steps of an NTLM logon.  The last twelve characters of the type 3 token
are CLIENT: who sends it puts the user's name there.
"""

import base64
import os
import struct
import sys

CLIENT = "client000000"     # as it stands, it is base64
BODY = bytes(64)


def utf16(text):
    return text.encode("utf-16-le")


def type_1():
    message = b"NTLMSSP\0" + struct.pack("<I", 1)
    message += struct.pack("<IIIII", 0xa2088207, 0, 40, 0, 40)
    return message + bytes((10, 0, 0x63, 0x45, 0, 0, 0, 15))


def type_3():
    """An NTLMv2 answer of the usual size; the session key is its end."""

    fields = [
        bytes(24),                              # LM answer
        bytes(16) + bytes.fromhex("0101") + bytes(282),
        utf16("CONTOSO"),
        utf16("otto"),
        utf16("WORKSTATION-1"),
        bytes(16),                              # session key
    ]

    # a length without remainder: base64 ends with CLIENT, not with "="
    at = 88
    extra = -(at + sum(len(f) for f in fields)) % 3
    fields[1] += bytes(extra)

    message = b"NTLMSSP\0" + struct.pack("<I", 3)
    payload = b""

    for field in fields:
        message += struct.pack("<HHI", len(field), len(field),
                               at + len(payload))
        payload += field

    message += struct.pack("<I", 0xa2888205)
    message += bytes((10, 0, 0x63, 0x45, 0, 0, 0, 15)) + bytes(16)

    return message + payload


def request(template, token, body):
    lines = []

    for line in template.splitlines():
        if line.startswith("Authorization:"):
            if token is None:
                continue
            line = "Authorization: NTLM " + token
        elif line.startswith("Content-Length:"):
            line = "Content-Length: %d" % len(body)
        lines.append(line)

    return "\r\n".join(lines + ["", ""]).encode() + body


def main():
    with open(sys.argv[1]) as f:
        template = f.read().replace("{{cookie}}", "").replace(
            "{{mailbox}}", "d37c94f4-3d0b-4f8a-9a4e-5a2b8d9ae1c7")

    one = base64.b64encode(type_1()).decode()
    three = base64.b64encode(type_3()).decode()

    for name, content in (
            ("plain", request(template, None, BODY)),
            # a client keeps the body for the request that will be answered
            ("type1", request(template, one, b"")),
            ("type3", request(template, three[:-len(CLIENT)] + CLIENT, BODY))):
        with open(os.path.join(sys.argv[2], name), "wb") as f:
            f.write(content)


if __name__ == "__main__":
    main()
