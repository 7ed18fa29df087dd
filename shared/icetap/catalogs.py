"""Where the tables are: the loader's settings as a pyiceberg catalog.

`target-iceberg` and `icetap query` read the same three settings here, so that they mean the same place:

- `warehouse`: a folder, or the URI of an object store. Default: `warehouse` under the project's root.
- `catalog`: pyiceberg's own catalog properties, unchanged. Default: the SQLite file `catalog.db` in the warehouse.
- `catalog_name`: default `icetap`.

And `timeout_seconds` and `max_retries`, for catalogs that are servers.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from icetap.errors import ConfigurationError
from icetap.secrets.redaction import REDACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyiceberg.catalog import Catalog

    from icetap.patience import Patience

DEFAULT_CATALOG_NAME = "icetap"
DEFAULT_WAREHOUSE = "warehouse"
CATALOG_FILE = "catalog.db"
DEFAULT_TIMEOUT_SECONDS = 60.0

_NESTED = frozenset({"auth", "ssl"})  # the two properties of pyiceberg that are objects
_S3_RETRIES = "icetap.s3_retries.PatientS3Retries"
_REPEATABLE = (
    "create_namespace",
    "create_table",
    "list_namespaces",
    "list_tables",
    "load_namespace_properties",
    "load_table",
    "namespace_exists",
    "table_exists",
)

# pyiceberg takes locations apart as URIs and SQLAlchemy does so with the catalog's address: a folder whose name
# holds one of these would be cut short, and the tables would land somewhere else.
_UNSAFE_IN_LOCATIONS = "?#%"


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """A catalog's name and properties, ready for `pyiceberg.catalog.load_catalog`."""

    name: str
    properties: dict[str, Any] = field(repr=False)  # may hold credentials
    warehouse: str
    folder: Path | None
    """The warehouse as a local folder; None when it is an object store or the catalog's own affair."""

    @property
    def catalog_file(self) -> Path | None:
        """The SQLite file of the default catalog; None when `catalog` names another one."""
        if self.folder is None or self.properties.get("uri") != _sqlite_uri(self.folder):
            return None
        return self.folder / CATALOG_FILE


def project_root(environ: Mapping[str, str] | None = None) -> Path:
    """The Meltano project's root, or the working folder outside a project."""
    root = (os.environ if environ is None else environ).get("MELTANO_PROJECT_ROOT")
    return Path(root) if root else Path.cwd()


def catalog_settings(settings: Mapping[str, Any], *, root: Path | None = None) -> CatalogSettings:
    """Resolve `warehouse`, `catalog` and `catalog_name`; touches no file and no network.

    Args:
        settings: The loader's settings; others than the three are ignored.
        root: The folder that relative warehouses start from; default `project_root()`.

    Raises:
        ConfigurationError: When a setting has the wrong form, or the warehouse cannot hold the default catalog.
    """
    name = str(settings.get("catalog_name") or DEFAULT_CATALOG_NAME)
    given = settings.get("warehouse")
    folder, location = _warehouse(str(given or DEFAULT_WAREHOUSE), root=root or project_root())
    properties = _catalog_properties(settings.get("catalog"))
    if properties is not None:
        # Catalogs have warehouses of their own (a REST catalog's is a name), so only a given one is passed on.
        if given and "warehouse" not in properties:
            properties["warehouse"] = location
        return CatalogSettings(name, properties, properties.get("warehouse", ""), folder if given else None)
    if folder is None:
        raise ConfigurationError(
            f"warehouse is {location!r}, where the default catalog (an SQLite file) cannot live. Set 'catalog' to the "
            'properties of a pyiceberg catalog, such as {"type": "rest", "uri": "https://…"}.'
        )
    defaults = {"type": "sql", "uri": _sqlite_uri(folder), "warehouse": location}
    return CatalogSettings(name, defaults, location, folder)


def open_catalog(settings: Mapping[str, Any], *, root: Path | None = None, create: bool = True) -> Catalog:
    """Open the catalog that the settings name.

    Args:
        settings: The loader's settings.
        root: The folder that relative warehouses start from; default `project_root()`.
        create: Make the folder and the SQLite file of the default catalog when they are missing.

    Raises:
        ConfigurationError: When a setting is wrong, the catalog cannot be opened, or the default one is missing and
            `create` is false.
        RetriableError: When its server cannot be reached, or its database stays locked.
    """
    resolved = catalog_settings(settings, root=root)
    _prepare_folder(resolved, create=create)
    from icetap import faults  # noqa: PLC0415 -- half a second that `--help` need not pay
    from icetap.patience import RETRIES_PROPERTY, Patience  # noqa: PLC0415

    patience = Patience.from_settings(settings)
    timeout = float(settings.get("timeout_seconds") or DEFAULT_TIMEOUT_SECONDS)
    try:
        catalog = patience.call(
            lambda: _load(resolved, timeout_seconds=timeout, patience=patience),
            what=f"opening the catalog {resolved.name!r}",
        )
    except Exception as error:
        # The cause's own text may hold an address with a password, so only its kind is told.
        raise (
            faults.explained(error)
            or _of_a_missing_package(error)
            or ConfigurationError(
                f"The catalog {resolved.name!r} cannot be opened ({type(error).__name__}). Check the settings 'catalog' "
                "and 'warehouse', and that the catalog's server can be reached with these credentials."
            )
        ) from error
    _hide_secrets(catalog)
    catalog.properties[RETRIES_PROPERTY] = str(patience.max_retries)
    return _with_patience(catalog, patience)


def _of_a_missing_package(error: Exception) -> ConfigurationError | None:
    """What to install, for a catalog whose package is not among those that every installation has."""
    missing = next(
        (one for one in (error, error.__cause__, error.__context__) if isinstance(one, ImportError)), None
    )
    if missing is None:
        return None
    return ConfigurationError(
        f"The catalog needs the Python package {(missing.name or 'of its type')!r}, which is not installed. Add it to the "
        "plug-in's 'pip_url': for PostgreSQL the extra 'catalog-postgres' of icetap, for others the extra of pyiceberg "
        "that has the name of their type."
    )


def _load(resolved: CatalogSettings, *, timeout_seconds: float, patience: Patience) -> Catalog:
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415 -- as above
    from pyiceberg.utils.config import Config, merge_config  # noqa: PLC0415

    from icetap import avro_doubles  # noqa: PLC0415 -- as above
    from icetap.rest_catalog import TimedRestCatalog, is_rest  # noqa: PLC0415

    avro_doubles.mend()
    given = {"s3.retry-strategy-impl": _S3_RETRIES, **resolved.properties}
    if not patience.max_retries:
        given = dict(resolved.properties)
    # pyiceberg's own environment variables and its file may hold a part, such as the secrets.
    properties = merge_config(Config().get_catalog_config(resolved.name) or {}, given)
    if is_rest(properties) and "uri" in properties:
        return TimedRestCatalog(resolved.name, timeout_seconds=timeout_seconds, **properties)
    return load_catalog(resolved.name, **given)


def _hide_secrets(catalog: Catalog) -> None:
    """Keep what pyiceberg read from its own variables, or a server handed out, out of every log."""
    schema = {"properties": {"catalog": {"secret": True}}}
    REDACTOR.add_settings({"catalog": dict(catalog.properties)}, schema)


def _with_patience(catalog: Catalog, patience: Patience) -> Catalog:
    """Repeat calls that may be done twice when they fail for a while: a lock, a server that starts again.

    A commit is none of them; a table that is made twice is there already, which callers expect.
    """
    for name in _REPEATABLE:
        method = getattr(catalog, name)
        setattr(catalog, name, _patiently(method, patience, what=name.replace("_", " ")))
    return catalog


def _patiently(method: Callable[..., Any], patience: Patience, *, what: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        return patience.call(lambda: method(*arguments, **options), what=f"catalog, {what}")

    return call


def _warehouse(text: str, *, root: Path) -> tuple[Path | None, str]:
    """The warehouse as (local folder or None, location as pyiceberg wants it)."""
    parts = urlsplit(text)
    if "://" in text and parts.scheme != "file":
        return None, text.rstrip("/")
    path = Path(parts.path) if parts.scheme == "file" else Path(text).expanduser()
    folder = Path(os.path.abspath(root / path))  # noqa: PTH100 -- resolve() would follow links and change the name
    found = sorted(set(_UNSAFE_IN_LOCATIONS) & set(str(folder)))
    if found:
        raise ConfigurationError(
            f"warehouse is the folder {str(folder)!r}, whose name holds {' '.join(found)}; "
            "locations of Iceberg files are URIs and would be cut there. Choose a folder without them."
        )
    return folder, f"file://{folder}"


def _sqlite_uri(folder: Path) -> str:
    return f"sqlite:///{folder / CATALOG_FILE}"


def _catalog_properties(value: object) -> dict[str, Any] | None:
    """`catalog` as properties; a JSON text is taken too, as environment variables can hold nothing else."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise ConfigurationError(
            "catalog must be an object of pyiceberg's catalog properties, such as "
            '{"type": "rest", "uri": "https://…"}; found something else.'
        )
    return dict(_properties(value)) or None


def _properties(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the properties, joined again where Meltano has taken `s3.endpoint` for an object `s3`."""
    for name, part in value.items():
        if isinstance(part, dict) and name not in _NESTED:
            yield from _properties(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _as_property(part)


def _as_property(value: Any) -> Any:
    """Properties of pyiceberg are texts, but for objects such as `auth`."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, dict | list) else str(value)


def _prepare_folder(resolved: CatalogSettings, *, create: bool) -> None:
    file = resolved.catalog_file
    if file is None:
        return
    if not create:
        if not file.exists():
            raise ConfigurationError(
                f"No tables at {resolved.folder}: the catalog file {CATALOG_FILE} is not there. Load something first "
                "(`meltano run tap-… target-iceberg`), or point 'warehouse' to the right folder."
            )
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The warehouse folder {resolved.folder} cannot be made ({error.strerror}). "
            "Check the setting 'warehouse' and the rights on that folder."
        ) from error
