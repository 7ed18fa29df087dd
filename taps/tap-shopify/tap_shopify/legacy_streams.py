"""The streams of the REST Admin API (`api: rest`), one declaration each: https://shopify.dev/docs/api/admin-rest."""

from __future__ import annotations

from icetap.rest import RecordRules
from tap_shopify.legacy import ById, RestResource


class Orders(RestResource):
    name = "orders"
    resource = "orders"
    object_name = "RestOrder"
    conditions = {"status": "any", "order": "updated_at asc"}  # noqa: RUF012 -- without `any` only open ones come


class Products(RestResource):
    name = "products"
    resource = "products"
    object_name = "RestProduct"


class Customers(RestResource):
    name = "customers"
    resource = "customers"
    object_name = "RestCustomer"


class CustomCollections(RestResource):
    name = "custom_collections"
    resource = "custom_collections"
    object_name = "RestCollection"


class SmartCollections(RestResource):
    name = "smart_collections"
    resource = "smart_collections"
    object_name = "RestCollection"


class Locations(RestResource):
    name = "locations"
    resource = "locations"
    object_name = "RestLocation"
    is_filtered = False
    child_context = {"location_id": "$.id"}  # noqa: RUF012 -- a declaration


class InventoryLevels(RestResource):
    """Read whole each time, for each location."""

    name = "inventory_levels"
    resource = "inventory_levels"
    object_name = "RestInventoryLevel"
    parent = "locations"
    conditions = {"location_ids": "{parent.location_id}"}  # noqa: RUF012 -- a declaration
    is_filtered = False
    primary_keys = ("inventory_item_id", "location_id")
    child_context = {"inventory_item_id": "$.inventory_item_id"}  # noqa: RUF012 -- a declaration


class InventoryItems(ById):
    """Read whole each time: those that are stocked anywhere."""

    name = "inventory_items"
    resource = "inventory_items"
    object_name = "RestInventoryItem"
    parent = "inventory_levels"
    id_name = "inventory_item_id"
    rules = RecordRules(drop=("inventory_item_id", "location_id"))


STREAMS = (
    *(Orders, Products, Customers, CustomCollections, SmartCollections),
    *(Locations, InventoryLevels, InventoryItems),
)
