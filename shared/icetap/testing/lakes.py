"""Catalogs and object stores as real servers on this machine: Iceberg's own REST catalog, and S3."""

from __future__ import annotations

import http
import http.client
import json
import os
import shutil
import signal
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.testing.servers import (
    accepts_connections,
    free_port,
    go_program,
    maven_jars,
    program,
    python_environment,
    real_server,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ICEBERG = "1.11.0"
_JETTY = "12.1.2"
_REST_JARS = (
    f"org.apache.iceberg:iceberg-open-api:{ICEBERG}:test-fixtures",
    f"org.apache.iceberg:iceberg-core:{ICEBERG}",
    f"org.apache.iceberg:iceberg-core:{ICEBERG}:tests",
    "org.xerial:sqlite-jdbc:3.49.1.0",
    f"org.eclipse.jetty.ee10:jetty-ee10-servlet:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-server:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-gzip:{_JETTY}",
    "org.apache.hadoop:hadoop-client-api:3.4.1",
    "org.apache.hadoop:hadoop-client-runtime:3.4.1",
    "org.slf4j:slf4j-simple:2.0.17",
)
_S3_JARS = (f"org.apache.iceberg:iceberg-aws:{ICEBERG}", f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}")
_JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

VERSITYGW = ("github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
MOTO = "moto[server]==5.*"
REGION = "us-east-1"
KEY_ID, SECRET_KEY = "ICETAPTESTKEY", "s3cr3t/Key+of=the tests"


@dataclass(frozen=True)
class S3:
    """An S3 server with one bucket."""

    port: int
    bucket: str
    folder: Path | None
    """Where its objects lie as files; None when they lie elsewhere."""

    @property
    def warehouse(self) -> str:
        """A place for tables."""
        return f"s3://{self.bucket}/warehouse"

    def properties(self, *, port: int | None = None) -> dict[str, str]:
        """Return pyiceberg's properties to reach it, the secrets among them.

        Args:
            port: Another port, such as that of a proxy.
        """
        return {
            "s3.endpoint": f"http://127.0.0.1:{port or self.port}",
            "s3.region": REGION,
            "s3.access-key-id": KEY_ID,
            "s3.secret-access-key": SECRET_KEY,
        }

    def files(self, under: str = "") -> list[str]:
        """Return the paths of all objects, sorted."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(f"{self.bucket}/{under}".rstrip("/"), recursive=True, allow_not_found=True)
        return sorted(info.path for info in _file_system(self.port).get_file_info(selector) if info.is_file)


def _file_system(port: int) -> Any:
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(
        access_key=KEY_ID,
        secret_key=SECRET_KEY,
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        region=REGION,
        allow_bucket_creation=True,
    )


@contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """Start an S3 server that checks credentials, or skip the test; it ends with the block."""
    with real_server("S3 (versitygw)") as answers:
        path = shutil.which("versitygw") or str(go_program(*VERSITYGW))
        objects = folder / "objects"
        objects.mkdir(parents=True)
        port = free_port()
        with started(
            [path, "--port", f"127.0.0.1:{port}", "--region", REGION, "posix", str(objects)],
            answers=lambda: accepts_connections(port),
            folder=folder,
            environ={"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET_KEY},
        ):
            _file_system(port).create_dir("lake")
            answers(f"{VERSITYGW[1]}, built with Go")
            yield S3(port, "lake", objects / "lake")


@contextmanager
def s3_for_anybody(folder: Path) -> Iterator[S3]:
    """Start an S3 server from a wheel, which believes any credentials, or skip the test."""
    with real_server("S3 (moto)") as answers:
        python = python_environment("moto-5", [MOTO])
        port = free_port()
        with started(
            [str(python.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)],
            answers=lambda: accepts_connections(port),
            folder=folder,
            stop_signal=signal.SIGKILL,  # it keeps nothing, and SIGTERM takes it seconds
        ):
            _file_system(port).create_dir("lake")
            answers("from PyPI")
            yield S3(port, "lake", None)


@dataclass
class RestServer:
    """A REST catalog."""

    port: int
    folder: Path
    """The local folder of its tables; its own state lies there too."""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its `uri` for pyiceberg."""
        return f"http://127.0.0.1:{self.port}"

    def table(self, name: str, namespace: str = "raw") -> dict[str, Any] | None:
        """What it answers to a client that loads a table; None when there is none. Shares no code with pyiceberg."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request("GET", f"/v1/namespaces/{namespace}/tables/{name}")
            answer = connection.getresponse()
            body = answer.read()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        assert answer.status == http.HTTPStatus.OK, body
        found: dict[str, Any] = json.loads(body)
        return found

    @contextmanager
    def running(self) -> Iterator[RestServer]:
        """Run it; it may run again afterwards, with what it knew.

        Raises:
            NotAvailableError: When it does not start.
        """
        jars = maven_jars(f"iceberg-rest-{ICEBERG}", [*_REST_JARS, *_S3_JARS], transitive=True)
        path = ":".join(map(str, jars))
        with started(
            [program("java"), *_JVM, "-cp", path, "org.apache.iceberg.rest.RESTCatalogServer"],
            answers=lambda: accepts_connections(self.port),
            folder=self.folder,
            environ={"CATALOG_REST_PORT": str(self.port), **self.environ},
        ):
            yield self


@contextmanager
def rest_catalog(folder: Path, *, store: S3 | None = None) -> Iterator[RestServer]:
    """Start Iceberg's own REST catalog, or skip the test; it ends with the block.

    Args:
        folder: For its tables, and for the SQLite file in which it keeps them.
        store: Where its tables lie instead.
    """
    with real_server("Iceberg REST catalog") as answers:
        folder.mkdir(parents=True, exist_ok=True)
        warehouse = store.warehouse if store else f"file://{folder / 'warehouse'}"
        environ = {
            "CATALOG_WAREHOUSE": warehouse,
            "CATALOG_URI": f"jdbc:sqlite:{folder / 'rest.db'}",
            **(_s3_environ(store) if store else {}),
        }
        server = RestServer(free_port(), folder, environ)
        with server.running():
            answers(f"{ICEBERG}, from Maven")
            yield server


def _s3_environ(store: S3) -> dict[str, str]:
    return {
        "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
        "CATALOG_S3_ENDPOINT": f"http://127.0.0.1:{store.port}",
        "CATALOG_S3_PATH__STYLE__ACCESS": "true",
        "CATALOG_S3_ACCESS__KEY__ID": KEY_ID,
        "CATALOG_S3_SECRET__ACCESS__KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": os.environ.get("HOME", "/"),
    }
