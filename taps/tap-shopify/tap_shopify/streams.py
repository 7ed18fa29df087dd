"""Shopify's streams, one declaration each: https://shopify.dev/docs/api/admin-graphql, read 2026-11-21.

To add one: put the object's type into `objects.graphql`, copy five lines here, and name the class in `STREAMS`. An order
(`arguments`) is for the roots that can be sorted by the time they are filtered by.
"""

from __future__ import annotations

from tap_shopify.stream import ShopifyStream

BY_UPDATE = ", sortKey: UPDATED_AT"
BY_CREATION = ", sortKey: CREATED_AT"


class Orders(ShopifyStream):
    name = "orders"
    root = "orders"
    object_name = "Order"
    arguments = BY_UPDATE
    scope_name = "read_orders"
    deleted_subject = "ORDER"


class OrderLineItems(ShopifyStream):
    name = "order_line_items"
    root = "orders"
    object_name = "OrderLineItemsRef"
    each, owner = "lineItems", "order"
    arguments = BY_UPDATE
    scope_name = "read_orders"


class OrderRefunds(ShopifyStream):
    name = "order_refunds"
    root = "orders"
    object_name = "OrderRefundsRef"
    each, owner = "refunds", "order"
    arguments = BY_UPDATE
    scope_name = "read_orders"


class OrderTransactions(ShopifyStream):
    name = "order_transactions"
    root = "orders"
    object_name = "OrderTransactionsRef"
    each, owner = "transactions", "order"
    arguments = BY_UPDATE
    scope_name = "read_orders"


class Fulfillments(ShopifyStream):
    name = "fulfillments"
    root = "orders"
    object_name = "OrderFulfillmentsRef"
    each, owner = "fulfillments", "order"
    arguments = BY_UPDATE
    scope_name = "read_orders"


class DraftOrders(ShopifyStream):
    name = "draft_orders"
    root = "draftOrders"
    object_name = "DraftOrder"
    arguments = BY_UPDATE
    scope_name = "read_draft_orders"


class AbandonedCheckouts(ShopifyStream):
    name = "abandoned_checkouts"
    root = "abandonedCheckouts"
    object_name = "AbandonedCheckout"
    arguments = BY_CREATION
    scope_name = "read_orders"


class Customers(ShopifyStream):
    name = "customers"
    root = "customers"
    object_name = "Customer"
    arguments = BY_UPDATE
    scope_name = "read_customers"


class Products(ShopifyStream):
    name = "products"
    root = "products"
    object_name = "Product"
    arguments = BY_UPDATE
    scope_name = "read_products"
    deleted_subject = "PRODUCT"


class ProductVariants(ShopifyStream):
    name = "product_variants"
    root = "productVariants"
    object_name = "ProductVariant"
    scope_name = "read_products"


class Collections(ShopifyStream):
    name = "collections"
    root = "collections"
    object_name = "Collection"
    arguments = BY_UPDATE
    scope_name = "read_products"
    deleted_subject = "COLLECTION"


class CollectionProducts(ShopifyStream):
    """Read whole each time: a product that joins a smart collection may leave the collection's time as it was."""

    name = "collection_products"
    root = "collections"
    object_name = "CollectionProductsRef"
    each, owner = "products", "collection"
    cursor = None
    primary_keys = ("collection_id", "id")
    scope_name = "read_products"


class InventoryItems(ShopifyStream):
    name = "inventory_items"
    root = "inventoryItems"
    object_name = "InventoryItem"
    scope_name = "read_inventory"


class InventoryLevels(ShopifyStream):
    """Read whole each time: a changed quantity may leave the item's time as it was."""

    name = "inventory_levels"
    root = "inventoryItems"
    object_name = "InventoryItemLevelsRef"
    each, owner = "inventoryLevels", "inventory_item"
    cursor = None
    primary_keys = ("inventory_item_id", "location_id")
    scope_name = "read_inventory"


class Locations(ShopifyStream):
    """Shopify cannot filter them by time."""

    name = "locations"
    root = "locations"
    object_name = "Location"
    arguments = ", includeInactive: true, includeLegacy: true"
    cursor = None
    scope_name = "read_locations"


class ProductMetafields(ShopifyStream):
    name = "product_metafields"
    root = "products"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "product"
    arguments = BY_UPDATE
    scope_name = "read_products"


class VariantMetafields(ShopifyStream):
    name = "variant_metafields"
    root = "productVariants"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "variant"
    scope_name = "read_products"


class OrderMetafields(ShopifyStream):
    name = "order_metafields"
    root = "orders"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "order"
    arguments = BY_UPDATE
    scope_name = "read_orders"


class CustomerMetafields(ShopifyStream):
    name = "customer_metafields"
    root = "customers"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "customer"
    arguments = BY_UPDATE
    scope_name = "read_customers"


class CollectionMetafields(ShopifyStream):
    name = "collection_metafields"
    root = "collections"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "collection"
    arguments = BY_UPDATE
    scope_name = "read_products"


class Events(ShopifyStream):
    name = "events"
    root = "events"
    object_name = "Event"
    cursor = "createdAt"
    arguments = BY_CREATION
    scope_name = "read_content"


class DeletedRecords(ShopifyStream):
    """What was deleted, as far as Shopify tells: orders, products, collections, articles, blogs, pages, price rules."""

    name = "deleted_records"
    root = "events"
    object_name = "DeletionRef"
    search = "action:destroy"
    cursor = "createdAt"
    arguments = BY_CREATION
    scope_name = "read_content"


class Shop(ShopifyStream):
    name = "shop"
    root = "shop"
    object_name = "Shop"
    is_single = True
    cursor = None
    scope_name = "any"


STREAMS = (
    *(Orders, OrderLineItems, OrderRefunds, OrderTransactions, Fulfillments, DraftOrders, AbandonedCheckouts),
    *(Customers, Products, ProductVariants, Collections, CollectionProducts, InventoryItems, InventoryLevels),
    *(
        Locations,
        ProductMetafields,
        VariantMetafields,
        OrderMetafields,
        CustomerMetafields,
        CollectionMetafields,
    ),
    *(Events, DeletedRecords, Shop),
)
