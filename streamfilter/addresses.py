"""Which addresses are of the open internet, after IANA's registries of 2025.

``ipaddress.is_global`` follows the registries of the day on which a Python was released, and reads
over most ways in which an address of IPv6 leads to one of IPv4.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

# IANA IPv4 Special-Purpose Address Registry, multicast, and what clouds keep for themselves. Also
# blocks that are reached from everywhere are here where nobody keeps data in them.
_NOT_PUBLIC_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private use (RFC 1918)
        "100.64.0.0/10",  # shared by a provider's customers (RFC 6598), Alibaba's metadata
        "127.0.0.0/8",  # loopback (RFC 1122)
        "168.63.129.16/32",  # Azure's metadata and wire server, by an address that looks public
        "169.254.0.0/16",  # link-local (RFC 3927), metadata of most clouds
        "172.16.0.0/12",  # private use (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890), Oracle's metadata
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # automatic multicast tunnelling (RFC 7450)
        "192.88.99.0/24",  # relays from 6to4, given up (RFC 7526)
        "192.168.0.0/16",  # private use (RFC 1918)
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112), broadcast
    )
)
# IANA Internet Protocol Version 6 Address Space: nothing else is given to anyone, so all that lies
# outside is not public: loopback, unique local, link-local, site-local fec0::/10, multicast,
# discard 100::/64, SRv6's 5f00::/16, IPv4-compatible ::/96, and what may be added.
_UNICAST = IPv6Network("2000::/3")
# IANA IPv6 Special-Purpose Address Registry, within that.
_NOT_PUBLIC_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments (RFC 2928): benchmarks, ORCHID, DRIP and others
        "2001:db8::/32",  # documentation (RFC 3849)
        "2620:4f:8000::/48",  # AS112 (RFC 7534)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291: a socket takes it for the IPv4 address
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; that of RFC 8215 is for networks of their own
_TEREDO = IPv6Network("2001::/32")  # RFC 4380
_6TO4 = IPv6Network("2002::/16")  # RFC 3056
# The last 64 bits of an ISATAP address (RFC 5214) begin so, whatever stands before them.
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: Address) -> bool:
    """Whether an address, and every address that it leads to, is of the open internet."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_IPV4)
    if not all(is_public(each) for each in embedded(address)):
        return False
    # Nobody has these addresses; they stand for the IPv4 address in them.
    if any(address in block for block in (_MAPPED, _NAT64, _TEREDO)):
        return True
    return address in _UNICAST and not any(address in block for block in _NOT_PUBLIC_IPV6)


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """Returns the IPv4 addresses that an IPv6 one leads to, in any way that has a fixed form."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    if address in _MAPPED or address in _NAT64:
        return (_ipv4(number),)
    if address in _TEREDO:  # the server, and the client with its bits turned over
        return _ipv4(number >> 64), _ipv4(~number)
    found: tuple[IPv4Address, ...] = ()
    if address in _6TO4:
        found += (_ipv4(number >> 80),)
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        found += (_ipv4(number),)
    return found


def is_this_machine(address: Address) -> bool:
    """Whether an address is of this machine alone, also if it is mapped."""
    if isinstance(address, IPv6Address) and address in _MAPPED:
        return is_this_machine(_ipv4(int(address)))
    return address.is_loopback


def _ipv4(number: int) -> IPv4Address:
    return IPv4Address(number & 0xFFFFFFFF)
