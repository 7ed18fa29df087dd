"""The program `tap-mssql`, as the system starts it."""

from icetap.program import Program

main = Program("tap_mssql.tap:TapMSSQL.cli")
