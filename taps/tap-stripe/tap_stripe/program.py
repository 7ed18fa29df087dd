"""The program `tap-stripe`, as the system starts it."""

from icetap.program import Program

main = Program("tap_stripe.tap:TapStripe.cli")
