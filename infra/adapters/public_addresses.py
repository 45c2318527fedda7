"""Which addresses of the network a stranger may have us call: public ones, and no others, whatever their names say."""

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

# An IPv4 address lies in the last 32 bits of these (RFC 6052).
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


_LOOK_SECONDS = 3.0
_LOOKING_AT_ONCE = 16


class AddressRefused(OSError):
    """The name leads to an address that is nobody's but ours."""


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public network, also where it stands within another one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(each) for each in (address, *_within(address)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _within(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


class PublicResolver(AbstractResolver):
    """Gives public addresses only, and refuses a name of which one is not: what is connected to is what was looked at."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises AddressRefused, and OSError where the name leads nowhere."""
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(each["host"]) for each in found):
            raise AddressRefused(f"{host} is no public address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class LookedUp:
    """`api.ports.WebhookAddresses`: by what a name leads to at this moment. What it leads to later is looked at when it is called."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = PublicResolver(resolver)
        self._places = asyncio.Semaphore(_LOOKING_AT_ONCE)

    async def refused(self, host: str) -> str:
        try:
            async with asyncio.timeout(_LOOK_SECONDS), self._places:
                found = await self._resolver.resolve(host, 443, socket.AF_UNSPEC)
        except AddressRefused:
            return "leads to a private, loopback or link-local address; it must be one that everybody can reach"
        except TimeoutError:
            return "could not be looked up in time; try again"
        # A label that is too long or empty is no name at all (UnicodeError).
        except (OSError, UnicodeError):
            found = []
        return "" if found else "does not resolve; check the host's name"
