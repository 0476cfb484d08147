"""Addresses of the open internet, held against the registries of IANA."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from streamfilter.addresses import embedded, is_public, is_this_machine

# IANA IPv4 and IPv6 Special-Purpose Address Registries: every block that is not said to be
# reachable globally; and multicast, and site-local addresses (RFC 3879).
NOT_GLOBAL = [
    *("0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10"),
    *("127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.0.0/29", "192.0.0.8/32", "192.0.0.170/32", "192.0.0.171/32"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
    *("255.255.255.255/32", "224.0.0.0/4", "::1/128", "::/128"),
    *("64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001:2::/48"),
    *("2001:10::/28", "2001:db8::/32", "3fff::/20", "5f00::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
]
# Of the rest of the IPv6 address space nothing was given to anyone.
NOT_GIVEN = [
    *("::/8", "100::/8", "200::/7", "400::/6"),
    *("800::/5", "1000::/4", "4000::/3", "6000::/3"),
    *("8000::/3", "a000::/3", "c000::/3", "e000::/4"),
    *("f000::/5", "f800::/6", "fe00::/9"),
]
METADATA = {
    "AWS": ["169.254.169.254", "fd00:ec2::254"],
    "Azure": ["169.254.169.254", "168.63.129.16"],
    "Google": ["169.254.169.254", "fd20:ce::254"],
    "Alibaba": ["100.100.100.200"],
    "Oracle": ["192.0.0.192", "169.254.169.254"],
    "OpenStack": ["fe80::a9fe:a9fe"],
    "Tencent": ["169.254.0.23"],
}


@pytest.mark.parametrize("block", [*NOT_GLOBAL, *NOT_GIVEN])
def test_blocks_that_are_not_public_are_told(block: str) -> None:
    """Their first address, their last, and one in between."""
    network = ip_network(block)
    first, last = int(network[0]), int(network[-1])
    for number in (first, (first + last) // 2, last):
        address = type(network[0])(number)
        # Two ways in which an IPv4 address is written or reached lie in what is not given.
        if not embedded(address):
            assert not is_public(address), address


@pytest.mark.parametrize("cloud", METADATA)
def test_metadata_of_clouds_are_not_public(cloud: str) -> None:
    """Whoever reads them has the machine's credentials."""
    assert not any(is_public(ip_address(each)) for each in METADATA[cloud])


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "93.184.216.34", "168.63.129.15", "192.0.1.1", "223.255.255.255"),
        *("2606:4700::1111", "2a00:1450:4001::200e", "2001:200::1", "2620:4f:7fff::1"),
        *("64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"),
        "2001:0:808:808:0:0:f7f7:f7f7",
    ],
)
def test_public_addresses_are_called(address: str) -> None:
    """Also from a network that has IPv6 alone, behind NAT64."""
    assert is_public(ip_address(address))


FORMS = {
    "mapped": "::ffff:{a}",
    "compatible": "::{a}",
    "translated": "::ffff:0:{a}",
    "NAT64": "64:ff9b::{a}",
    "local NAT64, /96": "64:ff9b:1::{a}",
    "local NAT64, /48": "64:ff9b:1:{h}:{l0}:{l1}00::",
    "6to4": "2002:{h}:{l}::1",
    "Teredo, client": "2001:0:808:808::{inverse}",
    "Teredo, server": "2001:0:{h}:{l}::f7f7:f7f7",
    "ISATAP": "2a00:1450::5efe:{a}",
    "ISATAP, unique": "2a00:1450::200:5efe:{a}",
}


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "168.63.129.16"])
@pytest.mark.parametrize("form", FORMS)
def test_an_internal_address_is_found_within_an_address_of_ipv6(form: str, inner: str) -> None:
    """A gateway, or the machine's own sockets, would take it out again."""
    number = int(IPv4Address(inner))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:04x}"
    text = FORMS[form].format(
        a=inner, h=high, l=low, l0=low[:2], l1=low[2:], inverse=IPv4Address(number ^ 0xFFFFFFFF)
    )
    assert not is_public(ip_address(text)), text


def test_this_machine_is_told_also_where_it_is_mapped() -> None:
    """Plain http goes there alone; NAT64 leads to another machine."""
    ours = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
    assert all(is_this_machine(ip_address(each)) for each in ours)
    others = ["10.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "::ffff:10.0.0.1"]
    assert not any(is_this_machine(ip_address(each)) for each in others)
