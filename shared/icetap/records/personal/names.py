"""What a column's name says about its content, in English, Portuguese and Spanish."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from icetap.records.names import snake_case


class Kind(StrEnum):
    """A kind of personal data, with the words that people read."""

    EMAIL = "e-mail address"
    PHONE = "phone number"
    CARD = "payment card number"
    CPF = "Brazilian CPF number"
    CNPJ = "Brazilian CNPJ number"
    IBAN = "IBAN"
    IP = "IP address"
    PERSON = "person's name"
    BIRTH = "date of birth"
    ADDRESS = "postal address"
    DOCUMENT = "number of an identity document"


@dataclass(frozen=True, slots=True)
class _Words:
    kind: Kind
    names: frozenset[str]
    """Runs of a name's words that say it: `card_number` is in `main_card_number`."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _words(kind: Kind, names: str) -> _Words:
    return _Words(kind, _set(names))


_SAID_BY = (
    _words(
        Kind.EMAIL,
        "email emails e_mail e_mails mail_address email_address correo correo_electronico emailaddress work_mail "
        "correio_eletronico endereco_eletronico",
    ),
    _words(
        Kind.PHONE,
        "phone phones phone_number phonenumber telephone tel mobile mobile_number cell cellphone cell_phone fax msisdn "
        "whatsapp telefone telefones celular fone telefono movil ddd_telefone contact_no contact_number",
    ),
    _words(
        Kind.CARD,
        "card_number cardnumber credit_card creditcard cc_number ccnumber debit_card pan cartao numero_cartao "
        "cartao_credito numero_do_cartao tarjeta num_cartao card_no card_num cc_num",
    ),
    _words(Kind.CPF, "cpf cpfs cpf_cnpj num_cpf nr_cpf"),
    _words(Kind.CNPJ, "cnpj cnpjs num_cnpj nr_cnpj"),
    _words(
        Kind.IBAN,
        "iban ibans bank_account account_iban conta_bancaria conta_corrente bank_account_number pix_key chave_pix",
    ),
    _words(
        Kind.IP,
        "ip ip_address ipaddress ip_addr client_ip remote_addr ipv4 ipv6 remote_ip user_ip endereco_ip x_forwarded_for "
        "host_ip",
    ),
    _words(
        Kind.PERSON,
        "first_name firstname last_name lastname middle_name surname family_name given_name full_name fullname maiden_name "
        "contact_name customer_name client_name person_name patient_name employee_name holder_name cardholder "
        "cardholder_name billing_name shipping_name recipient_name user_full_name mother_name father_name nome_mae "
        "nome_pai nome_completo sobrenome nome_cliente nome_contato nome_titular nome_do_cliente apellido apellidos "
        "primeiro_nome ultimo_nome nome_da_mae nome_do_pai guest_name student_name doctor_name fname lname nome_social "
        "nm_cliente nm_pessoa nm_paciente nm_aluno nm_funcionario nm_usuario nm_contato nm_mae nm_pai nm_responsavel "
        "nome_paciente nome_aluno nome_funcionario nome_usuario nome_responsavel ship_to_name bill_to_name",
    ),
    _words(
        Kind.BIRTH,
        "birth_date birthdate birthday date_of_birth dob data_nascimento dt_nascimento nascimento born born_on "
        "fecha_nacimiento data_de_nascimento birth_day dt_nasc data_nasc dt_nascto birth_dt date_birth year_of_birth birth_year ano_nascimento",
    ),
    _words(
        Kind.ADDRESS,
        "street street_address address_line address_line1 address_line2 address1 address2 line1 line2 home_address "
        "billing_address shipping_address delivery_address postal_code postcode zip zip_code zipcode cep logradouro endereco "
        "direccion rua house_number full_address residential_address addr1 addr2 addr_line1 addr_line2 numero_casa "
        "end_residencial endereco_residencial bairro complemento",
    ),
    _words(
        Kind.DOCUMENT,
        "ssn social_security social_security_number passport passport_number passport_no national_id tax_id taxid "
        "driver_license drivers_license license_number rg cnh dni nif nie curp vat_id titulo_eleitor pis pis_pasep "
        "id_card_number identity_number national_insurance_number passaporte nr_passaporte taxpayer_id driver_licence drivers_licence driving_licence nhs_number "
        "nis",
    ),
)

_PEOPLE = _set(
    "user users customer customers client clients person persons people contact contacts employee employees patient "
    "patients lead leads member members guest guests driver drivers student students cliente clientes usuario usuarios "
    "pessoa pessoas contato contatos funcionario funcionarios paciente pacientes aluno alunos subscriber subscribers "
    "buyer buyers attendee attendees recipient recipients vendedor vendedores titular responsavel spouse holder"
)
_NAME = _set("name nome nm nombre")
"""Words that make a person's name beside a word for a person: `nome_do_paciente`."""

_OF_PEOPLE = (
    _words(Kind.PERSON, "name nome nombre names username user_name display_name nickname"),
    _words(Kind.EMAIL, "mail"),
    _words(Kind.ADDRESS, "address addresses"),
    _words(Kind.DOCUMENT, "documento nr_documento num_documento numero_documento document_number"),
)
"""Whole names that say it only where the stream is of people."""

# What stands beside such a word when the column says something about it, and does not hold it.
_ABOUT = _set(
    "is has was count counts total sent opened clicked verified verification valid invalid validated confirmed status state type "
    "types kind template templates subject body opt optin optout enabled disabled domain provider bounce bounced "
    "campaign campaigns flag at on by version hash hashed masked length format model brand os price cost fee rate quota "
    "plan unsubscribed notifications notification preference preferences consent server host label color colour "
    "area region country carrier required allowed limit limits date datetime timestamp qtd quantidade id ids "
    "file size lights tipo arquivo tamanho bill bandeira traffic view valido valida validado validada url "
    "expiry expiration exp attempts score reason last4 code_prefix prefix class category"
)
_MAY_HAVE_AT = frozenset({Kind.BIRTH})


def kind_by_name(name: str, *, stream: str = "") -> Kind | None:
    """Return what a column's name says that it holds, or None.

    A bare `name` is a person's where the stream is of people.
    """
    # `telefone1` is one more telephone.
    words = [word.rstrip("0123456789") or word for word in _words_of(name)]
    runs = _runs(words) | _runs(_words_of(name))
    for said in _SAID_BY:
        found = said.names & runs
        if found:
            others = set(words) - {word for run in found for word in run.split("_")}
            return None if others & _ABOUT and said.kind not in _MAY_HAVE_AT else said.kind
    said_of_one = set(words)
    if said_of_one & _NAME and said_of_one & _PEOPLE and not said_of_one & _ABOUT:
        return Kind.PERSON
    if _PEOPLE & set(snake_case(stream).split("_")):
        return next((said.kind for said in _OF_PEOPLE if "_".join(words) in said.names), None)
    return None


def _words_of(name: str) -> list[str]:
    return snake_case(name.replace("[]", "").rpartition(".")[2] or name).split("_")


def _runs(words: list[str]) -> set[str]:
    """Return all runs of words, joined."""
    return {
        "_".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)
    }
