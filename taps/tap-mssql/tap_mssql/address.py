"""Where SQL Server is and how to sign in, as a connection string for either driver."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from icetap.sql.server import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES = ("mssql", "sqlserver")
DEFAULT_PORT = 1433
ENCRYPT = {"yes": "yes", "mandatory": "yes", "no": "no", "optional": "no", "strict": "strict"}
"""The setting's words, and the drivers'."""

AUTH_METHODS = {
    "password": None,
    "kerberos": None,
    "access_token": None,
    "active_directory_password": "ActiveDirectoryPassword",
    "active_directory_service_principal": "ActiveDirectoryServicePrincipal",
    "active_directory_managed_identity": "ActiveDirectoryMSI",
    "active_directory_default": "ActiveDirectoryDefault",
}
"""Ways to sign in, and what the drivers call them in `Authentication`."""

ACCESS_TOKEN = 1256
"""SQL_COPT_SS_ACCESS_TOKEN: https://learn.microsoft.com/en-us/sql/connect/odbc/using-azure-active-directory"""

_NEEDS_USER = {"password", "active_directory_password", "active_directory_service_principal"}
# What people have behind the question mark of a SQLAlchemy URL.
_URL_OPTIONS = {
    "encrypt": "encrypt",
    "trustservercertificate": "trust_server_certificate",
    "hostnameincertificate": "hostname_in_certificate",
    "servercertificate": "server_certificate",
    "applicationintent": "application_intent",
    "multisubnetfailover": "multi_subnet_failover",
    "driver": "odbc_driver",
}
_TRUE = {"yes", "true", "1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to connect; knows no driver."""

    server: ServerAddress
    instance: str | None
    auth_method: str
    options: Mapping[str, str]
    odbc_driver: str | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Address:
        """Read the settings.

        Raises:
            ConfigurationError: When they contradict each other or leave something out.
        """
        server = ServerAddress.from_config(config, schemes=SCHEMES, default_port=DEFAULT_PORT)
        merged = {**config, **_options_of_url(server.options)}
        host, _, in_host = server.host.partition("\\")
        instance = config.get("instance") or in_host or None
        if instance and server.tunnel is not None:
            raise ConfigurationError(
                "settings 'instance' and 'ssh_tunnel' are both given, but a named instance is looked up by a "
                "datagram that no tunnel carries: give the instance's 'port' instead"
            )
        if in_host:
            server = _with_host(server, host)
        method = config["auth_method"]
        if method in _NEEDS_USER and not server.user:
            raise ConfigurationError(f"setting 'user' is missing: 'auth_method: {method}' signs in with one")
        return cls(
            server=server,
            instance=instance,
            auth_method=method,
            options=_options(merged),
            odbc_driver=merged.get("odbc_driver"),
        )

    @property
    def where(self) -> str:
        """The server and the database, for messages; no credential."""
        host = (
            f"{self.server.host}\\{self.instance}"
            if self.instance
            else f"{self.server.host}:{self.server.port}"
        )
        return f"{self.server.database} on {host}" if self.server.database else host

    def keywords(self) -> tuple[dict[str, str], dict[int, bytes]]:
        """Return the connection string's parts, and attributes that are set before connecting.

        Asks for the password (`password_command`) each time: tokens end, and no driver renews them.

        Raises:
            ConfigurationError: When there is no password where one is needed.
        """
        host, port = self.server.dial()
        parts = {"Server": f"{host}\\{self.instance}" if self.instance else f"{host},{port}"}
        if self.server.database:
            parts["Database"] = self.server.database
        parts |= self.options
        if self.server.tunnel is not None and "HostnameInCertificate" not in parts:
            parts["HostnameInCertificate"] = self.server.host  # not this machine's end of the tunnel
        if self.auth_method == "kerberos":
            return {**parts, "Trusted_Connection": "yes"}, {}
        password = self.server.password()
        if self.auth_method == "access_token":
            if not password:
                raise ConfigurationError(
                    "'auth_method: access_token' needs the token: give a 'password_command' that prints a fresh one, "
                    "for the scope https://database.windows.net/.default"
                )
            return parts, {ACCESS_TOKEN: _token(password)}
        if authentication := AUTH_METHODS[self.auth_method]:
            parts["Authentication"] = authentication
        if self.server.user:
            parts["UID"] = self.server.user
        if password is not None:
            parts["PWD"] = password
        elif self.auth_method in _NEEDS_USER:
            raise ConfigurationError("setting 'password' is missing; or give a 'password_command'")
        return parts, {}


def connection_string(parts: Mapping[str, str], *, doubles_braces: bool = True) -> str:
    """Return the text that ODBC takes; what could be read as more than a value stands in braces.

    https://learn.microsoft.com/en-us/sql/odbc/reference/syntax/sqldriverconnect-function (read 2026-11-21)

    Args:
        parts: Keywords and values.
        doubles_braces: Whether a closing brace in a value is doubled, as the standard says and FreeTDS (1.3) does not do.

    Raises:
        ConfigurationError: When a value cannot be written in FreeTDS's way.
    """
    if not doubles_braces and any("};" in value for value in parts.values()):
        raise ConfigurationError(
            "FreeTDS cannot read a password or name with '};' in it: change it, or use Microsoft's driver"
        )
    pairs = [f"{name}={_escaped(value, doubles=doubles_braces)}" for name, value in parts.items()]
    return ";".join(pairs) + ("" if doubles_braces else ";")  # FreeTDS looks for '};', at the end too


def _escaped(value: str, *, doubles: bool) -> str:
    plain = all(character.isalnum() or character in "_-.,\\/:" for character in value)
    return value if plain and value else "{" + (value.replace("}", "}}") if doubles else value) + "}"


def _token(text: str) -> bytes:
    """The form of ODBC's access tokens: each byte followed by a zero, the length in front."""
    wide = text.encode("utf-16-le")
    return struct.pack("<i", len(wide)) + wide


def _options_of_url(options: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        setting = _URL_OPTIONS.get(name.lower())
        if setting is None:
            raise ConfigurationError(
                f"setting 'sqlalchemy_url' has the option '{name}', which this tap does not know"
                f"{did_you_mean(name, _URL_OPTIONS)}"
            )
        is_switch = setting in {"trust_server_certificate", "multi_subnet_failover"}
        found[setting] = value.lower() in _TRUE if is_switch else value
    return found


def _options(config: Mapping[str, Any]) -> dict[str, str]:
    encrypt = ENCRYPT.get(str(config["encrypt"]).lower())
    if encrypt is None:
        raise ConfigurationError(
            f"setting 'encrypt' is '{config['encrypt']}'; expected one of {', '.join(ENCRYPT)}"
        )
    trusts = bool(config.get("trust_server_certificate"))
    if encrypt == "strict" and trusts:
        raise ConfigurationError(
            "settings 'encrypt: strict' and 'trust_server_certificate: true' contradict each other: strict always "
            "checks the certificate. Give its authority to the system, or use 'encrypt: mandatory'"
        )
    if config.get("server_certificate") and encrypt != "strict":
        raise ConfigurationError(
            "setting 'server_certificate' works with 'encrypt: strict' only. Otherwise name the PEM file with the "
            "certificate, or with its authority's, in the environment as SSL_CERT_FILE"
        )
    options = {"Encrypt": encrypt, "TrustServerCertificate": "yes" if trusts else "no"}
    for setting, keyword in (
        ("hostname_in_certificate", "HostnameInCertificate"),
        ("server_certificate", "ServerCertificate"),
    ):
        if config.get(setting):
            options[keyword] = str(config[setting])
    if str(config.get("application_intent") or "").lower() in {"read_only", "readonly"}:
        options["ApplicationIntent"] = "ReadOnly"
    if config.get("multi_subnet_failover"):
        options["MultiSubnetFailover"] = "yes"
    return options


def _with_host(server: ServerAddress, host: str) -> ServerAddress:
    return replace(server, host=host)
