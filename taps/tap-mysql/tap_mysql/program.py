"""The program `tap-mysql`, as the system starts it."""

from icetap.program import Program

main = Program("tap_mysql.tap:TapMySQL.cli")
