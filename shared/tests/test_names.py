"""Names: one normaliser for the whole suite."""

import pytest

from icetap.records.names import distinct_names, plain_identifier, snake_case


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("public-orders", "public_orders"),
        ("Preço (R$)", "Preco_R"),
        ("  a  b  ", "a_b"),
        ("Straße", "Stra_e"),
        ("already_plain", "already_plain"),
    ],
)
def test_a_plain_identifier_keeps_letters_and_digits(name, plain):
    assert plain_identifier(name) == plain


def test_a_name_of_which_nothing_is_left_is_the_same_each_time_and_unlike_others():
    assert plain_identifier("東京") == plain_identifier("東京") != plain_identifier("京都")
    assert plain_identifier("東京").startswith("column_")


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("customerId", "customer_id"),
        ("HTTPStatusCode", "http_status_code"),
        ("Order-Date", "order_date"),
        ("version2Beta", "version2_beta"),
    ],
)
def test_snake_case_splits_camel_case(name, snake):
    assert snake_case(name) == snake


def test_names_that_differ_only_in_case_get_numbers_in_order_of_appearance():
    assert distinct_names(["Id", "id", "ID", "x"]) == ["Id", "id_2", "ID_3", "x"]


def test_a_number_does_not_meet_another_name():
    assert distinct_names(["id", "ID", "id_2"]) == ["id", "ID_2", "id_2_2"]


def test_names_in_use_stay_as_they_are():
    assert distinct_names(["Id"], taken=["ID"]) == ["Id_2"]
