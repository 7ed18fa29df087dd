"""The program `tap-shopify`, as the system starts it."""

from icetap.program import Program

main = Program("tap_shopify.tap:TapShopify.cli")
