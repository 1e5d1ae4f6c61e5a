"""Tells all hosts of a network that an address is at this one from now on: ARP announcements (RFC 5227 section 3), as VRRP sends them (RFC 5798 section 6.4.1)."""

import socket
import struct
import sys

ETHERTYPE_ARP = 0x0806
BROADCAST = b"\xff" * 6


def main():
    device, address = sys.argv[1:]
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((device, 0))
    own = link.getsockname()[4]
    at = socket.inet_aton(address)
    head = BROADCAST + own + struct.pack("!H", ETHERTYPE_ARP)
    # Ethernet, IPv4; lengths of their addresses; a request, which asks for the address that it says it has.
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + at + bytes(6) + at
    link.send(head + request)


main()
