"""The program `target-iceberg`, as the system starts it."""

from icetap.program import Program

main = Program("target_iceberg.target:main")
