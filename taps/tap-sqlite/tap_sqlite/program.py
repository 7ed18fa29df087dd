"""The program `tap-sqlite`, as the system starts it."""

from icetap.program import Program

main = Program("tap_sqlite.tap:TapSQLite.cli")
