"""Ports that are chosen: free, wanted ones first, none twice."""

import socket
from pathlib import Path

from infra.local.ports import free_ports, is_free


class TestFreePorts:
    def test_are_as_many_as_asked_and_all_different(self) -> None:
        assert len(set(free_ports(20))) == 20

    def test_begin_with_the_wanted_ones_while_they_are_free(self) -> None:
        wanted = free_ports(2)
        assert free_ports(2, rather=wanted) == wanted
        with socket.create_server(("127.0.0.1", wanted[0])):
            assert not is_free(wanted[0])
            chosen = free_ports(2, rather=wanted)
        assert wanted[1] in chosen
        assert wanted[0] not in chosen

    def test_lie_below_the_range_of_outgoing_connections(self) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        assert all(port < max(first, 20_000) for port in free_ports(20))
