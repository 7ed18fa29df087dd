"""The test MariaDB is one that a reader of its log and a careful client can use."""

import pytest

pytestmark = pytest.mark.servers


def test_its_binary_log_holds_whole_rows_with_their_names(mariadb_server):
    found = mariadb_server.execute(
        "", "SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata"
    )

    assert found == [(1, "ROW", "FULL", "FULL")]


def test_its_certificate_is_good_for_its_address(mariadb_server):
    if mariadb_server.certificates is None:
        pytest.skip("a server of somebody else's")
    connection = mariadb_server.connect(
        ssl_ca=str(mariadb_server.certificates.authority), ssl_verify_cert=True, ssl_verify_identity=True
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")

        assert cursor.fetchone()[1]
