"""Personal columns are found, ordinary ones are left alone, and no value is told."""

import pytest

from icetap.records.personal import find_personal
from icetap.records.personal.names import Kind, kind_by_name

from .personal_elsewhere import ELSEWHERE
from .personal_sample import ORDINARY, PERSONAL

MIN_PRECISION, MIN_RECALL = 0.95, 0.9


def found(column):
    return find_personal(column.name, type_name=column.type_name, stream=column.stream, values=column.values)


@pytest.mark.parametrize(
    "labelled", [[*PERSONAL, *ORDINARY], ELSEWHERE], ids=["names-and-values", "names-of-others"]
)
def test_precision_and_recall_on_a_labelled_sample(labelled, capsys):
    personal = [column for column in labelled if column.kind]
    findings = [(column, found(column)) for column in labelled]
    hits = [(column, finding) for column, finding in findings if finding and column.kind]
    false_alarms = [
        f"{column}: {finding.kind}" for column, finding in findings if finding and not column.kind
    ]
    missed = [f"{column}" for column, finding in findings if column.kind and not finding]
    precision = len(hits) / (len(hits) + len(false_alarms))
    recall = len(hits) / len(personal)
    right_kind = sum(finding.kind in column.kinds for column, finding in hits)
    with capsys.disabled():
        print(
            f"\npersonal columns: precision {precision:.3f}, recall {recall:.3f} on {len(personal)} personal and "
            f"{len(labelled) - len(personal)} ordinary columns; the kind is right for {right_kind} of {len(hits)}; "
            f"false alarms: {false_alarms}; missed: {missed}"
        )

    assert precision >= MIN_PRECISION, false_alarms
    assert recall >= MIN_RECALL, missed
    assert right_kind >= 0.95 * len(hits)


def test_no_finding_tells_a_value():
    for column in PERSONAL:
        finding = found(column)
        told = f"{finding}"
        assert not [value for value in column.values if value and len(str(value)) > 4 and str(value) in told]


OTHERS = {
    "work_mail correioEletronico endereco_eletronico email2": Kind.EMAIL,
    "telefone1 contact_no phone2_home": Kind.PHONE,
    "cc_num card_num": Kind.CARD,
    "conta_corrente chave_pix pix_key": Kind.IBAN,
    "x_forwarded_for host_ip": Kind.IP,
    "nm_cliente nm_paciente fname lname nomeSocial ship_to_name nome_funcionario nome_do_paciente nome_vendedor spouse_name": Kind.PERSON,
    "dt_nasc date_birth ano_nascimento": Kind.BIRTH,
    "addr1 bairro numero_casa complemento end_residencial": Kind.ADDRESS,
    "driver_licence nhs_number nis": Kind.DOCUMENT,
    "phone_bill_amount cep_valido cartao_bandeira nome_arquivo customer_name_type zip_file street_lights pan_size cartao_tipo email_tipo": None,
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for names, kind in OTHERS.items() for name in names.split()]
)
def test_names_in_the_ways_of_other_databases_say_what_they_hold(name, kind):
    assert kind_by_name(name, stream="cadastro") is kind


@pytest.mark.parametrize(
    ("name", "kind"), [("address", Kind.ADDRESS), ("mail", Kind.EMAIL), ("documento", Kind.DOCUMENT)]
)
def test_some_names_say_it_only_where_the_stream_is_of_people(name, kind):
    assert kind_by_name(name, stream="public-clientes") is kind
    assert kind_by_name(name, stream="servers") is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["Ada <ada@example.org>", "Bob <bob@example.org>", "Cy <cy@example.org>"], Kind.EMAIL),
        (["a@münchen.de", "b@münchen.de", "joão@exemplo.com"], Kind.EMAIL),
        (["189.4.1.7, 10.0.0.1", "189.4.1.8, 10.0.0.1", "189.4.1.9"], Kind.IP),
        (["06 12 34 56 78", "07.98.76.54.32", "01 42 68 53 00"], Kind.PHONE),
        (["0171 2345678", "030/901820", "089 123456 78"], Kind.PHONE),
        (["612 345 678", "912 34 56 78", "634-567-890"], Kind.PHONE),
        (["212-736-5000", "(415) 555-2671", "617.495.1000"], Kind.PHONE),
        (["12345678Z", "X1234567L", "00000001R"], Kind.DOCUMENT),
        (["255081416802538", "2 55 08 14 168 025 38", None, "253072B07300470"], Kind.DOCUMENT),
        (["36574261809", "36 574 261 809", "86095742719"], Kind.DOCUMENT),
        (["BOXW310820HNERXN09", "SABC560626MDFLRN01", "GOCA850101HDFMRL06"], Kind.DOCUMENT),
        (["536-90-4399", "041-64-1110", "219-09-9990"], Kind.DOCUMENT),
        (["189.4.1.7:443", "189.4.1.8:443", "189.4.1.9:80"], Kind.IP),
    ],
    ids=lambda given: str(given) if isinstance(given, Kind) else "",
)
def test_values_in_other_forms_are_known(values, kind):
    found = find_personal("c", type_name="string", values=values)

    assert found is not None
    assert found.kind is kind


def test_what_only_resembles_an_address_is_none():
    for values in (
        ["pkg@1.2.3", "pkg@2.0.1", "x@4.5.6"],
        ["git@github.com:a/b.git"] * 4,
        ["1.2.3.4", "1.2.3.5", "2.0.0.1"],
    ):
        assert find_personal("c", type_name="string", values=values) is None
