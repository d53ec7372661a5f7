"""Certificates for tests, made by the program `openssl`: an authority, a server, a client."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers import RedisServer, free_port


class Certificates:
    """Files in a folder: `ca.pem`, and `server` and `client`, each with `.pem` and `.key`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._run(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=an authority",
            "-keyout", str(folder / "ca.key"), "-out", str(self.ca),
        )  # fmt: skip
        self._sign("server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self._sign("client", "keyUsage=digitalSignature")

    def _sign(self, name: str, extension: str) -> None:
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"{extension}\n")
        self._run(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=a {name}",
            "-keyout", str(self.key(name)), "-out", str(request),
        )  # fmt: skip
        self._run(
            "x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out", str(self.certificate(name)),
        )  # fmt: skip

    @staticmethod
    def _run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def server_options(self, port: int, *, clients: bool = False) -> list[str]:
        """What makes a server speak TLS on a port; `clients`: only to those that show a certificate."""
        return [
            "--tls-port", str(port), "--tls-ca-cert-file", str(self.ca),
            "--tls-cert-file", str(self.certificate("server")), "--tls-key-file", str(self.key("server")),
            "--tls-auth-clients", "yes" if clients else "no",
        ]  # fmt: skip


class TlsServer(RedisServer):
    """A server that speaks TLS on a port of its own; tests look at it from outside without."""

    def __init__(self, certificates: Certificates, *options: str, clients: bool = False) -> None:
        self.tls_port = free_port()
        super().__init__(*certificates.server_options(self.tls_port, clients=clients), *options)
        self._certificates = certificates

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}/0?ssl_ca_certs={self._certificates.ca}"
