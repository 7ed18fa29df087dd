"""The program `tap-postgres`, as the system starts it."""

from icetap.program import Program

main = Program("tap_postgres.tap:TapPostgres.cli")
