"""What the Python programs share: one JSON object a line on standard output, and a session by WHIP or WHEP (RFC 9725)."""

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def say(event, **facts):
    # One write: a program may have several threads that tell.
    sys.stdout.write(json.dumps({"event": event, "at": time.time() * 1000, **facts}) + "\n")
    sys.stdout.flush()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("--video", default="VP8")
    parser.add_argument("--audio", default="opus")
    parser.add_argument("--certificate", help="a PEM file with certificate and key")
    return parser.parse_args()


def post(url, offer):
    """Sends the offer; returns answer and session URL, or ends the program and says what was refused."""
    say("offer", sdp=offer)
    headers = {"content-type": "application/sdp"}
    request = urllib.request.Request(url, offer.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read().decode()
            location = urllib.parse.urljoin(url, response.headers["location"])
            say("answer", status=response.status, sdp=answer, location=location)
            return answer, location
    except urllib.error.HTTPError as error:
        say("answer", status=error.code, problem=error.read().decode())
    except OSError as error:
        say("answer", status=0, problem=str(error))
    sys.exit(3)


def delete(location):
    try:
        urllib.request.urlopen(urllib.request.Request(location, method="DELETE"), timeout=2).close()
    except OSError as error:
        say("delete", problem=str(error))
