"""Settings of a table's layout: their declaration, and what they ask of one stream's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from icetap.errors import ConfigurationError
from target_iceberg.tables.layout import LayoutWish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_iceberg.settings import StreamSettings

FORMAT_VERSION = 2
OWN_PROPERTIES = ("icetap.", "format-version")

LAYOUT_SETTINGS = (
    th.Property(
        "partition_by",
        th.ArrayType(th.StringType),
        title="Partition by",
        description="How tables are partitioned: columns, or `day(c)`, `hour(c)`, `month(c)`, `year(c)`, `bucket(16, c)`, "
        "`truncate(4, c)`. A change holds for new files. Empty list: not partitioned. Not set: as the table is.",
        examples=[["day(created_at)", "bucket(16, id)"]],
    ),
    th.Property(
        "sort_by",
        th.ArrayType(th.StringType),
        title="Sort by",
        description="Columns by which rows are sorted within data files, each with `asc` or `desc` and `nulls first` or "
        "`nulls last`. Empty list: not sorted. Not set: as the table is.",
        examples=[["created_at desc", "id"]],
    ),
    th.Property(
        "location",
        th.StringType,
        title="Location",
        description="Folder or URI of each new table; `{namespace}`, `{table}` and the words of `namespace` are filled in. "
        "Empty: in the warehouse.",
        examples=["s3://lake/{namespace}/{table}"],
    ),
    th.Property(
        "table_properties",
        th.ObjectType(additional_properties=True),
        title="Table properties",
        description="Iceberg table properties, set on new tables and on existing ones that have other values.",
        examples=[{"write.metadata.metrics.default": "full"}],
    ),
    th.Property(
        "format_version",
        th.IntegerType(minimum=1),
        default=FORMAT_VERSION,
        title="Format version",
        description="Version of Iceberg's table format. Only 2 can be written.",
    ),
)
"""The declarations, for the loader's schema of settings."""


def layout_wish(settings: StreamSettings, *, stream: str) -> LayoutWish:
    """Return what the settings ask of a stream's table.

    Raises:
        ConfigurationError: When a value is not of its setting's form, or cannot be written.
    """
    if settings.format_version != FORMAT_VERSION:
        raise ConfigurationError(
            f"setting 'format_version' of stream '{stream}' is {settings.format_version}; only {FORMAT_VERSION} can be "
            "written: version 1 has no delete files, and of version 3 the deletion vectors and row numbers cannot be "
            "written yet. Remove the setting."
        )
    return LayoutWish(
        partition_by=_texts("partition_by", settings.partition_by, stream=stream),
        sort_by=_texts("sort_by", settings.sort_by, stream=stream),
        properties=_properties(settings.table_properties or {}, stream=stream),
    )


def _texts(setting: str, value: Any, *, stream: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(one, str) and one.strip() for one in value):
        raise ConfigurationError(
            f"setting '{setting}' of stream '{stream}' is {value!r}; expected a list of texts, as in ['created_at']"
        )
    return tuple(value)


def _properties(values: Mapping[str, Any], *, stream: str) -> dict[str, str]:
    properties = {}
    for name, value in values.items():
        if name.startswith(OWN_PROPERTIES):
            raise ConfigurationError(
                f"setting 'table_properties' of stream '{stream}' has '{name}', which the loader keeps itself. Remove it."
            )
        if value is None or isinstance(value, (dict, list)):
            raise ConfigurationError(
                f"setting 'table_properties' of stream '{stream}' has no plain value for '{name}'; "
                "expected a text, a number or a boolean"
            )
        properties[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return properties
