"""The program `tap-rest`, as the system starts it."""

from icetap.program import Program

main = Program("tap_rest.tap:TapRest.cli")
