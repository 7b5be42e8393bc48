"""A real nginx that runs the repository's example configuration in front of a server."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"

MAIN = """\
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


def replace_once(pattern: str, replacement: str, text: str) -> str:
    """Replace what must stand in the example exactly once."""
    text, count = re.subn(pattern, replacement, text)
    assert count == 1, f"{pattern} stands {count} times in {CONFIGURATION.name}"
    return text


class Nginx:
    """nginx on two ports of the loopback interface: ``url`` plain, ``tls_url`` with HTTP/2.

    It inherits sockets that listen already, so a connection waits until nginx is ready, and no
    port can be taken by another process in between.
    """

    def __init__(self, directory: Path, *servers: tuple[str, int]) -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        plain, tls = (listener.getsockname()[1] for listener in listeners)
        self.url = f"http://127.0.0.1:{plain}"
        self.tls_url = f"https://127.0.0.1:{tls}"
        self.certificate = directory / "certificate.pem"
        self._make_certificate(directory)

        site = replace_once(
            r"\blisten 80;",
            f"listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl http2;"
            " ssl_certificate certificate.pem; ssl_certificate_key key.pem;",
            CONFIGURATION.read_text(),
        )
        upstream = " ".join(f"server {host}:{port};" for host, port in servers)
        site = replace_once(r"\bserver 127\.0\.0\.1:8480;", upstream, site)
        (directory / "site.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""  # the workers keep the test's own rights
        (directory / "nginx.conf").write_text(MAIN.format(user=user))

        descriptors = [listener.fileno() for listener in listeners]
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "nginx is not installed"
        with (directory / "error.txt").open("wb") as errors:
            self.process = subprocess.Popen(
                [program, "-p", str(directory), "-c", "nginx.conf"],
                env={"NGINX": "".join(f"{number};" for number in descriptors)},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
        for listener in listeners:
            listener.close()

    def _make_certificate(self, directory: Path) -> None:
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(directory / "key.pem"), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )

    def trust(self) -> ssl.SSLContext:
        """A TLS context that trusts this nginx and nothing else."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def stop(self) -> None:
        """End nginx and its worker."""
        self.process.terminate()
        self.process.wait(10)
