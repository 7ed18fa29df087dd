"""The child process that holds a Spark session: a JSON line with `sql` in, a base64 line of pickled rows out.

Runs in an environment that has pyspark and nothing of ours; see `icetap.testing.engines`.
"""

import base64
import json
import os
import pickle
import sys


def plain(value: object) -> object:
    """Return a value that needs no pyspark to be unpacked."""
    if hasattr(value, "asDict"):
        return {name: plain(part) for name, part in value.asDict().items()}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return bytes(value) if isinstance(value, bytearray) else value


def main() -> None:
    """Answer statements until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Spark and the JVM print on stdout; the answers' channel stays clean
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("icetap-tests")
    for name, value in json.loads(sys.argv[1]).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for line in sys.stdin:
        answer: dict[str, object]
        try:
            answer = {"rows": [plain(row) for row in session.sql(json.loads(line)["sql"]).collect()]}
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test that asked must hear it
            answer = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
        answers.write(base64.b64encode(pickle.dumps(answer)) + b"\n")
        answers.flush()
    session.stop()


if __name__ == "__main__":
    main()
