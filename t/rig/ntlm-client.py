"""HTTP clients that log on by NTLM, each with one connection of its own.

A line of standard input is a JSON list of requests: client (a name), url, and
for a logon user and password; or client and "close": true.  Requests of one
client are made in order, those of different clients at the same time.  A line
of standard output is the list of answers: status, text, headers (names in
small letters), sent (how many requests it took).
"""

import json
import sys
import threading

import requests
from requests.adapters import HTTPAdapter
from requests_ntlm import HttpNtlmAuth

sessions = {}


def session_of(name):
    if name not in sessions:
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_connections=1,
                                             pool_maxsize=1))
        sessions[name] = session

    return sessions[name]


def answer_to(request):
    session = session_of(request["client"])

    if request.get("close"):
        session.close()
        del sessions[request["client"]]
        return {"status": 0}

    auth = None
    if "user" in request:
        auth = HttpNtlmAuth(request["user"], request["password"])

    try:
        answer = session.post(request["url"], data=b"body", auth=auth,
                              timeout=20)
    except Exception as error:
        return {"status": 0, "text": repr(error), "headers": {}, "sent": 0}

    return {"status": answer.status_code, "text": answer.text,
            "headers": {k.lower(): v for k, v in answer.headers.items()},
            "sent": 1 + len(answer.history)}


def run(requests_of_one, answers):
    for at, request in requests_of_one:
        answers[at] = answer_to(request)


for line in sys.stdin:
    clients = {}
    todo = json.loads(line)
    answers = [None] * len(todo)

    for at, request in enumerate(todo):
        clients.setdefault(request["client"], []).append((at, request))

    for name in clients:
        session_of(name)

    threads = [threading.Thread(target=run, args=(each, answers))
               for each in clients.values()]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    print(json.dumps(answers), flush=True)
