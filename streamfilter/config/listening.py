"""The settings that every address has on which a process listens."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, field_validator, model_validator


def address_of(host: str, port: int) -> str:
    """Returns host and port as an address; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listening(BaseModel):
    """An address on which a process listens, and who may ask there."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 means any free port, which the log names."""
    certificate_file: Path | None = None
    """Certificate (PEM), followed by its chain; switches https on."""
    key_file: Path | None = None
    """Key of the certificate (PEM)."""
    user: str = ""
    """User who may read, with the password; empty: everybody who can reach the address."""
    password: str = ""
    allow_open: bool = False
    """Allow a network address without certificate or password; only if protected otherwise."""

    @field_validator("host")
    @classmethod
    def _bare(cls, value: str) -> str:
        return value.removeprefix("[").removesuffix("]")

    @property
    def address(self) -> str:
        """Host and port."""
        return address_of(self.host, self.port)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _closed(self) -> "Listening":
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password go together")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if not (self.loopback or self.allow_open or (self.user and self.certificate_file)):
            raise ValueError(
                f"host {self.host!r} is open to the network: give certificate_file, key_file, "
                "user and password, or set allow_open = true where something else protects it"
            )
        return self
