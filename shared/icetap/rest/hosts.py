"""Which hosts a tap may speak to: credentials go to the API's own origin and to those allowed by name."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from icetap.errors import ConfigurationError
from icetap.rest.failures import ForeignHostError

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL.

    Raises:
        ConfigurationError: When it is none of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ConfigurationError(
            f"'{parts.scheme}://{parts.hostname or ''}' is no address of HTTP; expected 'https://…'"
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            f"the address of {parts.hostname} holds credentials: give them in their own settings"
        )
    return parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme]


class HostRules:
    """Decides where a request may go.

    Args:
        base_url: The API; its origin is allowed.
        allowed_hosts: More hosts, `name` or `name:port`, for HTTPS or for the base URL's scheme.
        block_private: Whether private networks are refused, as a hosted service must.
    """

    def __init__(
        self, base_url: str, *, allowed_hosts: tuple[str, ...] = (), block_private: bool = False
    ) -> None:
        self._base = origin(base_url)
        self._allowed = {name.lower() for name in allowed_hosts}
        self._block_private = block_private
        self._looked_up: set[str] = set()

    def check(self, url: str, *, signed: bool) -> None:
        """Refuse a URL that credentials are not for, or that no tap should ask.

        Raises:
            ForeignHostError: Naming the host and what to do.
        """
        scheme, host, port = origin(url)
        if signed and not self.trusts(url):
            raise ForeignHostError(
                f"the API leads to {scheme}://{host}, but the credentials are for {self._base[0]}://{self._base[1]}. "
                "If that host is the vendor's own, add it to `allowed_hosts`."
            )
        if host not in self._looked_up:
            self._refuse_inner_addresses(host, port)
            self._looked_up.add(host)

    def trusts(self, url: str) -> bool:
        """Whether a URL may see the credentials."""
        scheme, host, port = origin(url)
        if (scheme, host, port) == self._base:
            return True
        names = {f"{host}:{port}"} | ({host} if port == _DEFAULT_PORTS[scheme] else set())
        return scheme in {"https", self._base[0]} and bool(names & self._allowed)

    def _refuse_inner_addresses(self, host: str, port: int | None) -> None:
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except OSError:
            return  # behind a proxy a name need not be known here; otherwise the request itself will fail
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            if address.is_link_local or (self._block_private and address.is_private):
                raise ForeignHostError(
                    f"the host {host} is an address of an inner network, which is not asked: the API's settings or "
                    "its answer lead there"
                )
